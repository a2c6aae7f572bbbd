"""Captions in a style by clauses that people wrote for others: guards, variety, and typed text."""

import pytest
import torch

from dgm import steering
from dgm.clauses import ClauseBank, stem
from dgm_book.chapters.controllable_text_vae import caption_bank

TABLES = {k: v for k, v in caption_bank.bank().items() if k not in ("rows", "any")}
PLAIN, ROMANTIC, HUMOROUS = torch.eye(3).tolist()


def bank(*rows, general=()):
    return ClauseBank({"rows": list(rows), "any": list(general), **TABLES})


@pytest.fixture(scope="module")
def whole():
    return steering.CaptionModel(ClauseBank(caption_bank.bank()))


@pytest.mark.parametrize(
    ("caption", "clause", "other", "fits"),
    [
        ("a man runs .", "as if she were watching", "a man runs .", True),
        ("a man runs .", "as if she were watching", "a woman runs .", False),
        ("a man runs .", "toward the sun", "a woman runs .", True),
        ("a man runs .", "toward the sun", "two men run .", False),
        ("two men run .", ", both late", "two women run .", True),
        ("two men run .", ", both late", "three men run .", False),
        ("a man runs .", "toward the sun", "a boy runs .", False),
        ("a boy runs .", "like a prince", "a girl runs .", False),
        ("a girl runs .", "to a kiss", "a girl runs .", False),
        ("a woman runs .", "to a kiss", "a woman holding a baby runs .", False),
        ("a woman runs .", "to a kiss", "a woman runs .", True),
        ("a dog runs .", "to its owner", "a cat runs .", False),
        ("a cat runs .", "with its tail up", "a bird runs .", False),
        ("a dog runs with a boy .", "to please him", "a dog runs .", False),
        ("a man runs on grass .", "that he mowed", "a man runs .", False),
        ("a man runs on grass .", ", and the grass is wet", "a man runs .", False),
        ("a man runs by the sea .", "into the waves", "a man runs .", False),
        ("a man runs .", "like a drunk goose", "a man runs .", False),
        ("a man runs .", "to the toilet", "a man runs .", False),
        ("a man runs .", "and falls", "a man running .", False),
        ("a man runs .", "and falls", "a man walks .", True),
    ],
)
def test_a_clause_goes_only_to_scenes_that_it_fits(caption, clause, other, fits):
    clauses = bank((caption, clause, ""))
    assert clauses.fits(clauses.clauses[0], clauses.scene(other.split())) == fits


@pytest.mark.parametrize(
    ("caption", "kind", "plural", "child"),
    [
        ("a mountain biker rides .", "adult", False, False),
        ("a group of hikers rests .", "adult", True, False),
        ("a man and a woman dance .", "adult", True, False),
        ("a man and his dog run .", "adult", True, False),
        ("a child ballerina dances .", "child", False, True),
        ("a young skater jumps .", "child", False, True),
        ("a young man jumps .", "adult", False, False),
        ("a woman holds her baby .", "adult", False, True),
        ("two german shepherds run .", "dog", True, False),
        ("zzz .", "thing", False, False),
    ],
)
def test_who_is_seen(caption, kind, plural, child):
    scene = bank(("a man runs .", "x", "")).scene(caption.split())
    assert (scene.kind, scene.plural, scene.child) == (kind, plural, child)


@pytest.mark.parametrize("word", ["run", "runs", "running"])
def test_forms_of_a_verb_have_a_stem(word):
    assert stem(word) == "run"


def test_the_clause_of_the_most_alike_caption_comes_first_and_not_again_in_a_batch():
    clauses = bank(
        ("a man rides a horse .", "toward home", "with care"),
        ("a man rides a bike .", "past the church", "on one wheel"),
        general=[("a man", ", full of joy", "")],
    )
    typed = ["a man rides a bike ."] * 6
    rewrites = steering.CaptionModel(clauses).rewrites(typed, torch.tensor([ROMANTIC] * 6))
    texts = [row[0].text for row in rewrites]
    assert texts[0] == "a man rides a bike past the church."
    assert "a man rides a bike, full of joy." in texts[1:]


@pytest.mark.parametrize("weights", [ROMANTIC, HUMOROUS])
def test_every_word_stays_and_spans_say_what_is_new(whole, weights):
    typed = "A man in a red hat climbs the Eiger!"
    rewrites = steering.candidates(whole, typed, weights, count=5)
    assert len({rewrite.text for rewrite in rewrites}) == 5
    for text, changed, removed, _, reason in rewrites:
        assert (removed, reason) == ((), "")
        ((first, end),) = changed
        assert text[:first].rstrip() + text[end:] == typed


def test_children_never_get_love_and_nobody_anything_crude(whole):
    crude, love = whole.bank.tables["crude"], whole.bank.tables["love"]
    for caption in ("a girl runs .", "two boys play .", "a woman holds her baby .", "a man runs ."):
        for style in (1, 2):
            rows = whole.rewrites([caption], torch.eye(3)[[style]], count=40)[0]
            assert len(rows) > 5
            for row in rows:
                added = set(row.text[len(caption) - 2 :].strip(".").split())
                assert not added & crude
                assert "man runs" in caption or not added & love, row.text


def test_plain_takes_the_clause_away_and_another_style_replaces_it(whole):
    plain = "a man sits on a bench ."
    romantic = steering.steer(whole, plain, ROMANTIC)
    assert romantic != plain
    assert steering.steer(whole, romantic, PLAIN) == "a man sits on a bench."
    humorous = steering.steer(whole, romantic, HUMOROUS)
    assert humorous == steering.steer(whole, plain, HUMOROUS)
    assert steering.steer(whole, plain, PLAIN) == plain


def test_near_the_middle_of_an_edge_the_styles_take_turns(whole):
    typed = "a man sits on a bench ."
    pure = [{r.text for r in steering.candidates(whole, typed, w)} for w in (ROMANTIC, HUMOROUS)]
    mixed = [r.text for r in steering.candidates(whole, typed, [0, 0.5, 0.5], count=4)]
    assert [text in pure[0] for text in mixed] == [True, False] * 2
    assert [text in pure[1] for text in mixed] == [False, True] * 2


@pytest.mark.parametrize(
    "typed", ["Zyx qwv.", "x", "\u05d0\u05d1", "A man runs by. " * 30, "One. Two! A dog."]
)
def test_any_text_comes_back_with_a_clause_or_a_reason(whole, typed):
    for rewrite in steering.candidates(whole, typed, HUMOROUS):
        assert rewrite.text
        assert rewrite.reason or rewrite.changed


def test_what_has_no_word_is_refused(whole):
    with pytest.raises(ValueError, match="at least one word"):
        steering.candidates(whole, " ", ROMANTIC)
    (stays,) = steering.candidates(whole, "!?", ROMANTIC)
    assert (stays.text, stays.reason) == ("!?", "there is no word")
