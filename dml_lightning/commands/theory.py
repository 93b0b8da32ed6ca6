"""`dml theory`: results that hold for a setting before anything is trained."""

from dml_lightning.theory import MarginRow, margin_table, max_feasible_margin


def margin(classes: int, dim: int) -> float:
    """Prints the largest margin that the triplets of L2-normalised embeddings can satisfy.

    Args:
        classes: Number of known classes, at least 2.
        dim: Size of the embedding.

    Returns:
        The bound in Euclidean distance.

    Raises:
        ValueError: If there are fewer than 2 classes, or no dimension.
    """
    bound = max_feasible_margin(classes, dim)
    rows = margin_table(classes, dim)
    own = next(row for row in rows if row.num_classes == classes)
    relation = "at most" if own.attained else "less than"
    print(
        f"The triplets of {classes} classes of unit vectors in {dim} dimensions can all be satisfied only by a "
        f"margin of {relation}\n"
        f"  {bound:.4f}  in Euclidean distance\n"
        f"  {bound**2:.4f}  in squared Euclidean distance\n"
        "for one crop of each class would lie at least that far from those of the others (Rankin's bound).\n\n"
        f"{'classes':>8} {'Euclidean':>12} {'squared':>12}     in {dim} dimensions"
    )
    for row in rows:
        print(_line(row) + ("  <-" if row is own else ""))
    return bound


def _line(row: MarginRow) -> str:
    """A line of the table of bounds."""
    relation = "<=" if row.attained else "< "
    return f"{row.num_classes:>8} {relation:>5} {row.euclidean:.4f} {relation:>5} {row.squared:.4f}"


THEORY = {"margin": margin}
