"""The `dml` command; `python -m dml_lightning` is the same."""

from dml_lightning.cli import main

if __name__ == "__main__":
    main()
