"""Simulated thermal flights over waterfowl: 16-bit frames with COCO boxes, in the file layout of a real survey."""

from dml_lightning.simulate.write import simulate

__all__ = ["simulate"]
