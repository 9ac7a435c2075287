"""The whole recipe: trains the model, makes its companions, measures it.

usage: recipe.py OUT STORIES.txt [--steps N] [--seed N]
"""

import argparse
from pathlib import Path

import torch

import companions
import evaluate
import sae
import train

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("stories", type=Path)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of the order of the texts")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train.train(args.stories, args.out, args.steps, device, args.seed)
    sae.train(args.out, args.stories, device)
    companions.write(args.out, args.stories)
    evaluate.main(args.out)
