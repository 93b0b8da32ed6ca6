"""Fair comparison of arms: which runs it takes, where they run, and what they show."""
