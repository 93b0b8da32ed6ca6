"""Evidence to a page: the numbers, tables and figures of runs, for readers who were not there."""
