"""What a mined pair must be."""

import pytest

from dgm_book.chapters.controllable_text_vae.mining import passes
from dgm_book.chapters.controllable_text_vae.ranking import Candidate

GOOD = (-1.0, 2.0, 0.9, -1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("place", "value"),
    [(2, 0.1), (3, -9.0), (4, -2.0), (5, -2.0), (6, -1.0)],
    ids=["not turned", "not natural", "left out", "added", "repeated"],
)
def test_the_filter_is_hard(place, value):
    parts = list(GOOD)
    assert passes("it was bad .", Candidate("it was good .", 1.0, GOOD, 3.5), 4.0)
    parts[place] = value
    assert not passes("it was bad .", Candidate("it was good .", 1.0, tuple(parts), 3.5), 4.0)


def test_a_copy_is_no_pair():
    assert not passes("it was bad .", Candidate("it was bad .", 1.0, GOOD, 3.5), 4.0)
