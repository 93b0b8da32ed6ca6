"""Simulated flights over waterfowl: radiometric 16-bit frames with COCO boxes, written like real ones."""

from dml_lightning.simulate.write import simulate

__all__ = ["simulate"]
