"""Pictures of embeddings and of frames, and the colours and projection that reports share with them.

Each function returns what it draws, and writes it where a path is given: matplotlib figures of runs, a Pillow image of
a frame. Both show themselves in a notebook.
"""

from typing import TYPE_CHECKING

from dml_lightning.lazy import lazy

if TYPE_CHECKING:
    from dml_lightning.figures.embeddings import draw_comparison, draw_curve, draw_neighbours
    from dml_lightning.figures.frames import draw_frame

__all__ = ["draw_comparison", "draw_curve", "draw_frame", "draw_neighbours"]

__getattr__, __dir__ = lazy(
    __name__, {"embeddings": ["draw_comparison", "draw_curve", "draw_neighbours"], "frames": ["draw_frame"]}
)
