"""What a reader skipped or changed: counted by reason, with examples."""

from collections import Counter

EXAMPLES_KEPT = 3


class ReadReport:
    """Counts what a reader skipped or changed, by reason, with the first few examples.

    Attributes:
        layout: What the data were taken for, where nobody said it.
        frames: Frames read, including those without a box.
        boxes: Boxes kept.
        skipped: Reason -> how many entries were left out.
        changed: Reason -> how many were kept in another form or deserve a look.
        examples: Reason -> the first few places (file and row, or annotation id).
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
