"""A run as a folder: recipes, checkpoints, fairness, signals, launch, tracking."""
