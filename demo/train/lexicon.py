"""The words that the generated texts are made of, and which of them are held out of what."""

import csv
import zlib
from pathlib import Path

FOLDER = Path(__file__).parent / "lexicon"


def words(name: str) -> list[str]:
    return sorted(set((FOLDER / name).read_text().split()))


def phrases(name: str) -> list[str]:
    return [line.split("|") for line in (FOLDER / name).read_text().splitlines()][0]


def verbs(name: str) -> list[str]:
    """Verb phrases with `{}` for the object: a line of plain verbs, and a line of phrases."""
    plain, whole = (FOLDER / name).read_text().splitlines()
    return [f"{verb} {{}}" for verb in plain.split("|")] + whole.split("|")


def held(*key: object, share: float) -> bool:
    """Whether an entity, or a combination, is kept for the evaluation; the same on every machine."""
    return zlib.crc32("|".join(map(str, key)).encode()) % 1000 < 1000 * share


NAMES = words("names.txt")
PLACES = words("places.txt")
OBJECTS = phrases("objects.txt")
NOUNS = words("nouns.txt")
WORDS = words("words.txt")
ROLES = words("roles.txt")
GROUPS = phrases("groups.txt")
TAILS = phrases("tails.txt")
CLAUSES = phrases("clauses.txt")
SOURCES = phrases("source_sentences.txt")
POWER, WEAK = verbs("power.txt"), verbs("weak.txt")
COUNTRIES = list(csv.DictReader((FOLDER / "countries.tsv").open(), delimiter="\t"))
ANIMALS = {a: line.split("\t")[0] for line in (FOLDER / "animals.tsv").read_text().splitlines() for a in line.split("\t")[1].split()}
FRACTIONS = {
    "one half": 50, "two thirds": 200 / 3, "three quarters": 75, "one third": 100 / 3, "one quarter": 25, "one fifth": 20,
    "one sixth": 100 / 6, "one seventh": 100 / 7, "one eighth": 12.5, "one ninth": 100 / 9, "one tenth": 10,
}  # fmt: skip
# Numbers that no text of the recipe calls a fraction: each lies within a class, between numbers that are in the training text.
HELD_PERCENTAGES = [24, 27, 32, 37, 40, 45, 48, 53, 56, 61, 64, 68, 73, 76, 79]

# Each must be one token with a blank before it, these and the numbers also without.
ONE_TOKEN = sorted(
    {*NAMES, *PLACES, *NOUNS, *WORDS, *ANIMALS, *ANIMALS.values(), *(v for c in COUNTRIES for v in c.values())}
    | {v.split()[0] for v in POWER + WEAK if v.endswith(" {}") and v.count(" ") == 1}
    | {w for f in FRACTIONS for w in f.split()} | {"TRUE", "FALSE"}
)  # fmt: skip
BARE = sorted({*ANIMALS, *(c["country"] for c in COUNTRIES)})
DIGITS = [str(n) for n in range(10)] + [f"{n:02d}" for n in range(100)]
