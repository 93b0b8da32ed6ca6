"""Statistics of finished runs: independent units, intervals, paired tests, sample sizes and tables."""
