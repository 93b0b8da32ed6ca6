"""The report of a reader: what it skipped or changed, counted by reason, with examples."""

from collections import Counter

EXAMPLES_KEPT = 3


class ReadReport:
    """Counts what a reader skipped or changed, by reason, with the first few examples.

    >>> report = ReadReport()
    >>> report.skip("box has no area", "boxes.csv row 7")
    >>> print(report)
    0 boxes in 0 frames
      skipped 1: box has no area (e.g. boxes.csv row 7)

    Attributes:
        layout: Layout that was recognised, as part of a sentence; empty where the user named the reader.
        frames: Frames read, including those without a box.
        boxes: Boxes kept.
        skipped: Reason -> number of entries that were left out.
        changed: Reason -> number of entries that were kept but changed, or are worth a look.
        examples: Reason -> first few places (file and row, or annotation id).
        warnings: Sentences about the data as a whole.
    """

    def __init__(self) -> None:
        self.layout = ""
        self.frames = 0
        self.boxes = 0
        self.skipped: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.warnings: list[str] = []

    def skip(self, reason: str, where: str) -> None:
        """Counts one entry that is left out."""
        self.skipped[reason] += 1
        self._remember(reason, where)

    def note(self, reason: str, where: str) -> None:
        """Counts one entry that is kept but changed or worth a look."""
        self.changed[reason] += 1
        self._remember(reason, where)

    def warn(self, sentence: str) -> None:
        """Adds a sentence about the data as a whole."""
        self.warnings.append(sentence)

    def _remember(self, reason: str, where: str) -> None:
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES_KEPT:
            examples.append(where)

    def __str__(self) -> str:
        lines = [f"{self.boxes} boxes in {self.frames} frames{self.layout and f', {self.layout}'}"]
        for title, counts in (("skipped", self.skipped), ("noted", self.changed)):
            for reason, count in sorted(counts.items()):
                lines.append(f"  {title} {count}: {reason} (e.g. {'; '.join(self.examples[reason])})")
        lines += [f"  warning: {sentence}" for sentence in self.warnings]
        return "\n".join(lines)
