"""What the rivals share: settings, the golden pair, timing, one JSON line a figure (as `benches/compare` prints)."""

import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

THREADS = int(os.environ.get("THREADS", os.cpu_count()))
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

GOLDEN = json.loads((Path(__file__).parents[2] / "tests/golden/smollm2_heatmap.json").read_text())
POSITIONS = range(GOLDEN["sentence_start"], GOLDEN["aligned_len"])


def sample(layers, count):
    """`count` of `layers` layers, spread evenly: a grid cell costs these tools the same at every layer."""
    return [(2 * i + 1) * layers // (2 * count) for i in range(count)]


def _busy():
    """Seconds that all cores together have been busy."""
    ticks = [int(n) for n in open("/proc/stat").readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def timed(f, repeats=3):
    """Runs `f` `repeats` times: median seconds, all of them, CPU seconds, and others' share of the cores."""
    start, before, own = time.perf_counter(), _busy(), time.process_time()
    seconds = []
    for _ in range(repeats):
        t = time.perf_counter()
        f()
        seconds.append(time.perf_counter() - t)
    own = time.process_time() - own
    other = (_busy() - before - own) / ((time.perf_counter() - start) * os.cpu_count())
    return {
        "seconds": statistics.median(seconds),
        "all": sorted(seconds),
        "cpu_seconds": own / repeats,
        "other_cpu": max(0.0, other),
    }


def emit(tool, figure, **fields):
    print(json.dumps({"tool": tool, "figure": figure, **fields}), flush=True)


def emit_peak(tool, part):
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    emit(tool, f"peak_{part}", megabytes=kib * 1024 / 1e6)
