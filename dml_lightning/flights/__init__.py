"""What is said of a whole flight rather than of a box: whether it drifts, and how many of each species it shows."""
