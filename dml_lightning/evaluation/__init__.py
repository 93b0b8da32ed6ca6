"""Evaluation: the embeddings of a split, and every number of a test as a function of them."""
