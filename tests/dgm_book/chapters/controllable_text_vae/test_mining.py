"""What a mined pair must be."""

import pytest

from dgm.steering import Candidate, Scores
from dgm_book.chapters.controllable_text_vae.mining import passes

GOOD = Scores(-1.0, 2.0, 0.9, -1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("part", "value"), [("agreement", 0.1), ("left_out", -2.0), ("added", -2.0), ("repeated", -1.0)]
)
def test_the_filter_is_hard(part, value):
    assert passes(Candidate("it was good .", GOOD, ""))
    assert not passes(Candidate("it was good .", GOOD._replace(**{part: value}), ""))
    assert not passes(Candidate("it was good .", GOOD, "no rewrite was good enough"))
