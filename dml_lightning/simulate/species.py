"""Species: size, proportions, and warmth of their parts; and the names of lookalikes.

Lengths (bill to tail, m) and wingspans (m) are published field-guide ranges. Body widths are published for gadwall and
snow goose; the other proportions, and all `leak` and `dark` values, are estimates by eye from photographs: they give
the pattern of a species, not a measured temperature.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Species:
    """One bird seen from above, stretched out: tail, body, neck, head and bill add up to its length.

    Attributes:
        name: Label in the annotations.
        length: Smallest and largest length, bill to tail, m.
        span: Smallest and largest wingspan, m.
        width: Body width as a fraction of the length.
        tail: Tail length as a fraction of the length.
        neck: Neck length as a fraction of the length.
        head: Head length as a fraction of the length.
        bill: Bill length as a fraction of the length.
        bill_width: Bill width as a fraction of the head's width.
        leak: Heat that plumage lets through on (flank, back, breast, rump and tail, head, bill): 0 is perfect
            insulation, 1 is bare skin.
        dark: Share of sunlight that (flank, back, breast, rump and tail, head, wing tip) absorb.
        swims: Whether it swims on water; a wader stands in it.
    """

    name: str
    length: tuple[float, float]
    span: tuple[float, float]
    width: float
    tail: float
    neck: float
    head: float
    bill: float
    bill_width: float
    leak: tuple[float, float, float, float, float, float]
    dark: tuple[float, float, float, float, float, float]
    swims: bool = True


# fmt: off
KNOWN: tuple[Species, ...] = (
    Species("mallard", (0.50, 0.65), (0.81, 0.98), 0.225, 0.12, 0.11, 0.125, 0.095, 0.60,
            (0.25, 0.27, 0.40, 0.10, 0.92, 0.80), (0.3, 0.5, 0.8, 0.9, 0.9, 0.6)),
    Species("northern_pintail", (0.51, 0.76), (0.80, 0.95), 0.165, 0.25, 0.17, 0.095, 0.085, 0.45,
            (0.22, 0.24, 0.10, 0.34, 0.78, 0.55), (0.3, 0.5, 0.0, 0.8, 0.7, 0.6)),
    Species("gadwall", (0.46, 0.57), (0.80, 0.88), 0.235, 0.12, 0.10, 0.120, 0.080, 0.50,
            (0.30, 0.18, 0.30, 0.46, 0.60, 0.45), (0.6, 0.6, 0.7, 1.0, 0.5, 0.6)),
    Species("green_winged_teal", (0.31, 0.39), (0.52, 0.59), 0.250, 0.11, 0.08, 0.135, 0.100, 0.45,
            (0.30, 0.30, 0.30, 0.22, 0.86, 0.65), (0.5, 0.5, 0.4, 0.5, 0.7, 0.6)),
    Species("american_wigeon", (0.47, 0.58), (0.76, 0.86), 0.225, 0.16, 0.08, 0.130, 0.055, 0.45,
            (0.38, 0.38, 0.38, 0.08, 0.36, 0.30), (0.6, 0.6, 0.6, 0.3, 0.2, 0.7)),
    Species("canvasback", (0.48, 0.56), (0.79, 0.89), 0.275, 0.07, 0.15, 0.115, 0.125, 0.55,
            (0.12, 0.08, 0.50, 0.42, 0.98, 0.95), (0.1, 0.1, 1.0, 1.0, 0.8, 0.6)),
    Species("canada_goose", (0.76, 1.10), (1.27, 1.85), 0.240, 0.13, 0.27, 0.090, 0.055, 0.55,
            (0.21, 0.23, 0.13, 0.12, 0.82, 0.70), (0.5, 0.6, 0.2, 0.9, 1.0, 0.7)),
    Species("snow_goose", (0.64, 0.84), (1.35, 1.65), 0.315, 0.12, 0.17, 0.100, 0.080, 0.70,
            (0.13, 0.09, 0.13, 0.09, 0.60, 0.95), (0.0, 0.0, 0.0, 0.1, 0.0, 1.0)),
    Species("american_coot", (0.39, 0.43), (0.58, 0.71), 0.345, 0.06, 0.10, 0.130, 0.095, 0.75,
            (0.42, 0.44, 0.42, 0.36, 0.70, 1.00), (1.0, 0.9, 1.0, 0.9, 1.0, 0.8)),
)

NOVEL: tuple[Species, ...] = (
    Species("sandhill_crane", (0.80, 1.36), (1.65, 2.30), 0.190, 0.10, 0.31, 0.080, 0.100, 0.45,
            (0.22, 0.24, 0.20, 0.16, 0.92, 0.70), (0.5, 0.5, 0.5, 0.6, 0.4, 0.9), swims=False),
    Species("common_merganser", (0.54, 0.71), (0.80, 0.92), 0.190, 0.15, 0.14, 0.115, 0.105, 0.28,
            (0.12, 0.32, 0.10, 0.24, 0.74, 0.85), (0.1, 0.8, 0.0, 0.5, 0.9, 0.8)),
    Species("northern_shoveler", (0.44, 0.51), (0.69, 0.84), 0.235, 0.12, 0.09, 0.115, 0.145, 0.95,
            (0.38, 0.24, 0.08, 0.30, 0.84, 1.00), (0.7, 0.6, 0.0, 0.8, 0.9, 0.7)),
    Species("tundra_swan", (1.20, 1.47), (1.68, 2.11), 0.240, 0.09, 0.34, 0.075, 0.060, 0.60,
            (0.12, 0.10, 0.12, 0.09, 0.66, 0.85), (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
)
# fmt: on

TAXONOMY_LEVELS = ("species", "genus", "group", "family")
TAXONOMY: tuple[tuple[str, str, str, str], ...] = (
    ("mallard", "Anas", "dabbling duck", "Anatidae"),
    ("northern_pintail", "Anas", "dabbling duck", "Anatidae"),
    ("gadwall", "Mareca", "dabbling duck", "Anatidae"),
    ("green_winged_teal", "Anas", "dabbling duck", "Anatidae"),
    ("american_wigeon", "Mareca", "dabbling duck", "Anatidae"),
    ("canvasback", "Aythya", "diving duck", "Anatidae"),
    ("canada_goose", "Branta", "goose", "Anatidae"),
    ("snow_goose", "Anser", "goose", "Anatidae"),
    ("american_coot", "Fulica", "rail", "Rallidae"),
    ("sandhill_crane", "Antigone", "crane", "Gruidae"),
    ("common_merganser", "Mergus", "sea duck", "Anatidae"),
    ("northern_shoveler", "Spatula", "dabbling duck", "Anatidae"),
    ("tundra_swan", "Cygnus", "swan", "Anatidae"),
)  # genera as in the IOC World Bird List; groups are those of hunters and counters

LOOKALIKES: tuple[str, ...] = ("vegetation", "debris", "mammal", "person", "glint", "dead_pixel")

SPECIES: dict[str, Species] = {bird.name: bird for bird in KNOWN + NOVEL}
CATEGORIES: tuple[tuple[str, str], ...] = (
    *((bird.name, "known species") for bird in KNOWN),
    *((bird.name, "novel species") for bird in NOVEL),
    *((name, "lookalike") for name in LOOKALIKES),
)  # (name, supercategory); COCO ids count from 1 in this order
