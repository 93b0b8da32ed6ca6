"""Which sentence of an error is for the user."""

import traceback
from pathlib import Path

PACKAGE_FOLDER = Path(__file__).parent


def own_sentence(error: BaseException | None) -> str | None:
    """The message of the innermost ValueError that this package raised on the way to `error`."""
    found = None
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        raised_here = bool(frames) and Path(frames[-1].filename).is_relative_to(PACKAGE_FOLDER)
        if isinstance(error, ValueError) and raised_here:
            found = str(error)
        error = error.__cause__ or error.__context__
    return found
