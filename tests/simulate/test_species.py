"""Species and categories: names, order and proportions."""

from collections import Counter
from dataclasses import replace

import pytest

from dml_lightning.simulate.species import CATEGORIES, KNOWN, LOOKALIKES, NOVEL, SPECIES, Species
from tests.simulate.drawn import warm


def test_snow_goose_back_is_colder_than_its_flanks_and_than_a_coot() -> None:
    """White, thick plumage insulates; by day its wing tips are the dark, warm part."""
    day = warm(leak=12.0)
    day = replace(day, sun=2.5)
    goose, coot = SPECIES["snow_goose"], SPECIES["american_coot"]
    back, flank = (day.apparent(goose.leak[i], goose.dark[i]) for i in (1, 0))
    assert back < flank < day.apparent(coot.leak[0], coot.dark[0])
    assert day.apparent(0.08, goose.dark[5]) > day.apparent(0.08, goose.dark[1])


def test_no_two_species_have_the_same_pattern() -> None:
    patterns = {(bird.leak, bird.width, bird.tail, bird.neck) for bird in SPECIES.values()}
    assert len(patterns) == len(SPECIES) == 13


def test_categories_are_known_then_novel_species_then_lookalikes() -> None:
    """COCO ids are places in this order, so a change would relabel old data sets."""
    assert [name for name, _ in CATEGORIES] == [*(bird.name for bird in KNOWN + NOVEL), *LOOKALIKES]
    assert len(dict(CATEGORIES)) == len(CATEGORIES)
    groups = [group for _, group in CATEGORIES]
    assert groups == ["known species"] * 9 + ["novel species"] * 4 + ["lookalike"] * 6
    assert Counter(groups)["known species"] == len(KNOWN)


@pytest.mark.parametrize("bird", KNOWN + NOVEL, ids=lambda bird: bird.name)
def test_proportions_leave_a_body_and_shares_are_shares(bird: Species) -> None:
    body = 1.0 - bird.tail - bird.neck - bird.head - bird.bill
    assert bird.width < body < 0.75  # a body is longer than wide
    assert 0 < bird.length[0] < bird.length[1] < bird.span[0] < bird.span[1]
    assert all(0.0 <= share <= 1.0 for share in (*bird.leak, *bird.dark, bird.bill_width))
    assert bird.swims == (bird.name != "sandhill_crane")
