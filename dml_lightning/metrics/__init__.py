"""Embeddings to numbers: distances, retrieval, classification and out-of-distribution detection."""
