"""Runs to a comparison: arms fitted and tested alike, one table, figures side by side."""
