"""The `dml` command; `python -m dml_lightning` is the same."""

from dml_lightning.cli import main


def run() -> None:
    """Runs the command line; what the command returns is for Python, not the shell's status."""
    main()


if __name__ == "__main__":
    run()
