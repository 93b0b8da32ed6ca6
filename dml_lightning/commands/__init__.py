"""One function per `dml` command, its door: options, their checks, and the order of the work.

A door imports what it works with inside its function, after the options have been checked: nobody waits for PyTorch to
read a help text or to learn that a file is missing. `tests/commands/test_imports.py` keeps what each may import.
"""
