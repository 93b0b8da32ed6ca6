"""Reads many damaged frames, and counts what became of them: the long form of tests/data/pixels/test_fuzz.py.

    python benchmarks/fuzz_readers.py                         # 1000 inputs; nothing is written
    python benchmarks/fuzz_readers.py --inputs 20000 --save

An input is a small valid file of a kind (TIFF in several layouts, PNG, JPEG, FLIR and DJI radiometric JPEG, .npy) with
up to eight overwritten runs of bytes and, half of the time, without its end. Anything but a frame or one sentence is
printed with the seed that makes it.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dml_lightning.data.pixels import read_frame
from measure import PeakMemory, Result, Stopwatch, options
from tests.data.pixels.mutations import damaged, outcome, seeds

PACKAGES = ("numpy", "tifffile", "imagecodecs", "pillow")


def damage(rng: np.random.Generator, content: bytes) -> bytes:
    """One damaged copy."""
    edits = [
        (float(rng.random()), int(rng.integers(256)), int(rng.integers(1, 9))) for _ in range(int(rng.integers(1, 9)))
    ]
    return damaged(content, edits, 1.0 if rng.random() < 0.5 else float(rng.random()))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    files, counts, slowest = seeds(), Counter[tuple[str, str]](), (0.0, "")
    with (
        Result(__file__, "Damaged frames: read or refused", PACKAGES, args) as result,
        tempfile.TemporaryDirectory() as folder,
        PeakMemory() as memory,
    ):
        for number in range(args.inputs):
            name = sorted(files)[number % len(files)]
            content = damage(np.random.default_rng([args.seed, number]), files[name])
            with Stopwatch() as watch:
                try:
                    became = "read" if outcome(Path(folder) / "a.bin", content, read_frame) == "read" else "refused"
                except Exception as error:
                    became = "fault"
                    result.text(f"{name}, input {number}: {type(error).__name__}: {error}")
            slowest = max(slowest, (watch.seconds, f"{name}, input {number}"))
            counts[name, became] += 1
        outcomes = ("read", "refused", "fault")
        result.table(
            ("file", *outcomes), ((name, *(counts[name, became] for became in outcomes)) for name in sorted(files))
        )
    with_fault = sum(counts[name, "fault"] for name in files)
    print(
        f"{args.inputs} inputs, slowest {slowest[0]:.2f} s ({slowest[1]}), {memory.added:.0f} MB more; "
        f"{with_fault} faults"
    )
    if with_fault:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
