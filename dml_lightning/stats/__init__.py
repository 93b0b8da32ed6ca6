"""From numbers of runs to statements: units, intervals, tests, tables."""
