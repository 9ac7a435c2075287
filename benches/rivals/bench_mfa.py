"""PyTorch: steps of Adam on a mixture of factor analysers, by autograd through Woodbury's identity.

usage: bench_mfa.py [--device cuda] [COMPONENTS WIDTH RANK BATCH], at first 500, 768, 10 and 128
"""

import math
import sys

from common import THREADS, emit, emit_peak, timed

import torch

torch.set_num_threads(THREADS)
torch.manual_seed(0)
args = sys.argv[1:]
DEVICE = args.pop(args.index("--device") + 1) if "--device" in args else "cpu"
given = [int(arg) for arg in args if arg != "--device"]
K, D, R, B = given + [500, 768, 10, 128][len(given) :]
STEPS = 10 if DEVICE == "cpu" else 64
torch.set_default_device(DEVICE)


class Mixture(torch.nn.Module):
    """Noise of each component its own, or shared as in the published runs."""

    def __init__(self, centroids, rank, own_noise):
        super().__init__()
        k, d = centroids.shape
        self.mu = torch.nn.Parameter(centroids.clone())
        self.w = torch.nn.Parameter(0.01 * torch.randn(k, d, rank))
        self.log_psi = torch.nn.Parameter(torch.zeros(k if own_noise else 1, d))
        self.pi = torch.nn.Parameter(torch.zeros(k))

    def forward(self, x):
        k, d, r = self.w.shape
        precision = torch.exp(-self.log_psi)
        wp = self.w * precision[:, :, None]
        m = torch.einsum("kdr,kds->krs", self.w, wp) + torch.eye(r)
        chol = torch.linalg.cholesky(m)
        logdet = self.log_psi.sum(1) + 2 * torch.diagonal(chol, dim1=1, dim2=2).log().sum(1)
        quad = (x * x) @ precision.T - 2 * x @ (self.mu * precision).T + (self.mu * self.mu * precision).sum(1)
        v = (x @ wp.permute(1, 0, 2).reshape(d, k * r)).view(-1, k, r) - torch.einsum("kd,kdr->kr", self.mu, wp)
        u = torch.linalg.solve_triangular(chol, v.permute(1, 2, 0), upper=False)
        quad = quad - (u * u).sum(1).T
        log = torch.log_softmax(self.pi, 0) - 0.5 * (d * math.log(2 * math.pi) + logdet + quad)
        return -torch.logsumexp(log, 1)


rows = torch.randn(4096, D) + 2 * torch.randn(64, D)[torch.randint(0, 64, (4096,))]
for figure, own_noise in (("mfa_step", False), ("mfa_step_own_noise", True)):
    mixture = Mixture(rows[torch.arange(K) % 4096], R, own_noise)
    adam = torch.optim.Adam(mixture.parameters(), lr=1e-3)
    at = 0

    def steps():
        global at
        for _ in range(STEPS):
            first = at * B % (4096 - B)
            at += 1
            adam.zero_grad()
            loss = mixture(rows[first : first + B]).mean()
            loss.backward()
            adam.step()
        # Waits for a card.
        loss.item()

    steps()
    timing = timed(steps, 5)
    per_step = {key: timing[key] / STEPS for key in ("seconds", "cpu_seconds")}
    timing["all"] = [seconds / STEPS for seconds in timing["all"]]
    emit("pytorch", figure, **{**timing, **per_step}, steps_per_second=1 / per_step["seconds"])
emit_peak("pytorch", "mfa")
