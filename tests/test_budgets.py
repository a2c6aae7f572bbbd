"""The budgets of the house: `python tests/tools/code_size.py` prints the counts.

A budget is raised only with a reason, in a commit of its own. Where the plan's budget has not been
reached yet, what is asserted is how far the house has come: that may fall, and never rise.
"""

from pathlib import Path

import code_size
import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "lib"


# The rewriter that is to replace `dgm.steering` stands beside it until it has been scored by hand;
# then one of the two goes, and so does this list.
CHAPTER_4 = "dgm_book/chapters/controllable_text_vae"
REWRITER = {
    "lib/dgm": (
        "clauses",
        "data/graded_sentences",
        "nets/copying",
        "nets/graded_reader",
        "steering",
    ),
    "lib/dgm_book/widgets": ("rewriter_weights",),
    "tests/tools": ("rewriting_vectors",),
    f"lib/{CHAPTER_4}": (
        *("minilm", "mining", "neural_reader", "opposites", "pairs", "pretrained_reader"),
        *("ranking", "ratings", "readers"),
        *("rewriter", "rewriter_results", "rewriter_scores", "sitting", "caption_bank"),
    ),
    "tests/dgm": (
        "test_clauses",
        *("data/test_graded_sentences", "nets/test_copying", "nets/test_graded_reader"),
        "test_steering",
    ),
    f"tests/{CHAPTER_4}": (
        *("test_minilm", "test_mining", "test_opposites", "test_pairs", "test_pretrained_reader"),
        *("test_ranking", "test_ratings"),
        "test_caption_bank",
        *("test_readers", "test_rewriter", "test_rewriter_results", "test_sitting"),
    ),
}
BESIDE = {ROOT / folder / f"{name}.py" for folder, names in REWRITER.items() for name in names}


@pytest.mark.parametrize(
    ("folder", "reached", "planned"),
    [
        ("lib/dgm", 8_000, 8_000),
        ("lib/dgm_book", 11_000, 10_500),
        ("tests", 23_740, 21_000),
    ],
)
def test_lines_of_a_folder(folder, reached, planned):
    beside = sum(code_size.lines(path) for path in BESIDE if path.is_relative_to(ROOT / folder))
    lines = code_size.total_lines(ROOT / folder) - beside
    assert 0 < lines <= reached
    assert reached == planned or lines > planned, "the plan's budget is reached: hold it"


@pytest.mark.parametrize(("folder", "most"), [("lib/dgm/papers", 350), ("lib", 600)])
def test_lines_of_a_file(folder, most):
    assert {
        p.name: n for p in code_size.files(ROOT / folder) if (n := code_size.lines(p)) > most
    } == {}


def test_functions_can_be_seen_whole():
    long = [f for f in code_size.functions(LIBRARY) if f.lines > 40]
    assert len(long) <= 10, long
    assert long[0].lines <= 70, long[0]


def test_public_names_of_the_library():
    beside = {path.relative_to(LIBRARY).as_posix() for path in BESIDE if LIBRARY in path.parents}
    names = code_size.public_names(LIBRARY / "dgm")
    assert len([name for name in names if name.split()[0] not in beside]) <= 350


def test_names_say_what_a_thing_is():
    places, count = code_size.vague_names(LIBRARY)
    whole = [place for place in places if place.split()[-1] in code_size.VAGUE]
    assert whole == [], "the plan lists these words as no names"
    assert len(places) < 0.004 * count, places


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("found = 1", "found"),
        ("for few in x: pass", "few"),
        ("def f(told): pass", "told"),
        ("[made for made in x]", "made"),
        ("with x as kept: pass", "kept"),
        ("import a as way", "way"),
        ("self.seen = 1", "seen"),
        ("def told_page(): pass", "told_page"),
        ("(race := 1)", "race"),
    ],
)
def test_every_kind_of_binding_counts(tmp_path, source, name):
    (tmp_path / "a.py").write_text(f"expected = 1\n{source}\n")
    places, count = code_size.vague_names(tmp_path)
    assert [place.split()[-1] for place in places] == [name]
    assert count >= 2


def test_a_body_is_counted_without_its_docstring(tmp_path):
    (tmp_path / "a.py").write_text(
        'def f():\n    """A.\n\n    B.\n    """\n    x = 1\n\n    return x\n'
    )
    assert [f.lines for f in code_size.functions(tmp_path)] == [3]
