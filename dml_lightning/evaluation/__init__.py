"""Evidence, and every number of a test as a function of it."""
