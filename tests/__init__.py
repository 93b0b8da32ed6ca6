"""Tests, which lie where their modules lie; `end_to_end` holds whole flows."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of the checkout
