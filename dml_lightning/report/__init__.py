"""Reports: numbers, tables and figures of runs on one page."""
