"""Pairs of rows, exactly: blocks, distances, order, keys, shares, neighbours."""
