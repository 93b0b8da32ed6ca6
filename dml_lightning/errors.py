"""The message of an error that is meant for the user."""

import traceback
from pathlib import Path

PACKAGE_FOLDER = Path(__file__).parent


def own_sentence(error: BaseException | None) -> str | None:
    """The message of the innermost ValueError that this package raised on the way to `error`; None if there is none.

    Example:
        >>> from dml_lightning.theory import max_feasible_margin
        >>> try:
        ...     max_feasible_margin(num_classes=1, embedding_dim=8)
        ... except ValueError as error:
        ...     own_sentence(error)
        'triplets need at least 2 classes, got 1'
    """
    message = None
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        raised_here = bool(frames) and Path(frames[-1].filename).is_relative_to(PACKAGE_FOLDER)
        if isinstance(error, ValueError) and raised_here:
            message = str(error)
        error = error.__cause__ or error.__context__
    return message
