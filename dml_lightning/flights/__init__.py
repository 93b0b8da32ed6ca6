"""Whole flights instead of single boxes: drift, and corrected counts of each species."""
