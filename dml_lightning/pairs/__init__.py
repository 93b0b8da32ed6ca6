"""Exact computations over pairs of rows, for losses and metrics: distances, class order, sort keys, neighbours."""
