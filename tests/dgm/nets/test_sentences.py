"""Texts cut into sentences."""

import pytest

from dgm.data import text
from dgm.nets.sentences import split_sentences


@pytest.mark.parametrize(
    ("typed", "most", "pieces"),
    [
        ("nice", 9, ["nice"]),
        ("It cost $3.50. Nice!", 9, ["it cost $ 3.50 .", "nice !"]),
        ("no !!! really ?! ( yes . ) ok", 9, ["no ! ! !", "really ? !", "( yes . )", "ok"]),
        ("Dr. Who left... today. bye", 9, ["dr. who left ... today .", "bye"]),
        ("!? a", 9, ["! ?", "a"]),
        ("a b c d e f g", 5, ["a b c d e", "f g"]),
        ("a b, c d e f, g h", 5, ["a b ,", "c d e f ,", "g h"]),
        (", a b c d e f", 5, [",", "a b c d e", "f"]),
    ],
)
def test_cuts_behind_ends_and_pauses_and_loses_nothing(typed, most, pieces):
    words = text.tokenise(typed, keep_numbers=True).split()
    assert [" ".join(piece) for piece in split_sentences(words, most)] == pieces


def test_wants_a_word():
    with pytest.raises(ValueError, match="no word"):
        split_sentences([], 5)
