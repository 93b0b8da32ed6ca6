"""Reads many damaged frames, and counts what became of them: the long form of tests/data/pixels/test_fuzz.py.

    python benchmarks/fuzz_readers.py --inputs 20000

An input is a small valid file of a kind (TIFF in several layouts, PNG, JPEG, FLIR and DJI radiometric JPEG, .npy) with
up to eight overwritten runs of bytes and, half of the time, without its end. Anything but a frame or one sentence is
printed with the seed that makes it.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dml_lightning.data.pixels import read_frame
from tests.data.pixels.mutations import damaged, outcome, seeds


def damage(rng: np.random.Generator, content: bytes) -> bytes:
    """One damaged copy."""
    edits = [
        (float(rng.random()), int(rng.integers(256)), int(rng.integers(1, 9))) for _ in range(int(rng.integers(1, 9)))
    ]
    return damaged(content, edits, 1.0 if rng.random() < 0.5 else float(rng.random()))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    files, counts, slowest = seeds(), Counter[str](), (0.0, "")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.inputs):
            name = sorted(files)[number % len(files)]
            content = damage(np.random.default_rng([args.seed, number]), files[name])
            begun = time.perf_counter()
            try:
                result = "read" if outcome(Path(folder) / "a.bin", content, read_frame) == "read" else "refused"
            except Exception as error:
                result = "FAULT"
                print(f"{name}, seed {args.seed}, input {number}: {type(error).__name__}: {error}")
            slowest = max(slowest, (time.perf_counter() - begun, f"{name}, input {number}"))
            counts[f"{name}: {result}"] += 1
    for key in sorted(counts):
        print(f"{key:24} {counts[key]:6}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{args.inputs} inputs in {time.perf_counter() - start:.0f} s, slowest {slowest[0]:.2f} s ({slowest[1]})")
    print(f"peak memory grew by {grown:.0f} MB; {sum(n for key, n in counts.items() if 'FAULT' in key)} faults")


if __name__ == "__main__":
    main()
