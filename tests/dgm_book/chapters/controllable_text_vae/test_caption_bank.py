"""The bank of clauses for captions is whole, clean, and says what its captions do not."""

import pytest

from dgm.clauses import ClauseBank
from dgm_book.chapters.controllable_text_vae import caption_bank

BANK = caption_bank.bank()


@pytest.mark.parametrize(
    ("plain", "styled", "clause"),
    [
        ("a dog runs .", "a dog runs like the wind .", "like the wind"),
        ("a dog runs .", "a dog runs , free .", ", free"),
        ("a dog runs .", "at last , a dog runs .", ""),
        ("a dog runs .", "a dog gladly runs .", ""),
        ("a dog runs .", "a dog runst .", ""),
    ],
)
def test_a_clause_is_what_stands_at_the_end(plain, styled, clause):
    assert caption_bank.clause_of(plain, styled) == clause


def test_most_captions_by_hand_have_clauses_in_both_styles():
    assert len(BANK["rows"]) > 2_800
    assert all(len(row) == 3 and row[0].endswith(" .") for row in BANK["rows"])
    clauses = ClauseBank(BANK)
    kinds = {clauses.scene(row[0].split())[:3] for row in BANK["any"]}
    assert {kind[0] for kind in kinds} == {"adult", "child", "dog", "animal", "thing"}


def test_clauses_for_any_scene_stand_once_a_subject_and_are_not_crude():
    crude = set(BANK["crude"].split())
    for style in (1, 2):
        rows = [(row[0], row[style]) for row in BANK["any"] if row[style]]
        assert len(rows) == len(set(rows))
        assert not crude & {word for _, clause in rows for word in clause.split()}
