"""Runs: their folders, recipes, checkpoints, fair comparison, signals, launch and tracking."""
