"""The budgets of the house: `python tests/tools/code_size.py` prints the counts.

A budget is raised only with a reason, in a commit of its own. Where the plan's budget has not been
reached yet, what is asserted is how far the house has come: that may fall, and never rise.
"""

from pathlib import Path

import code_size
import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "lib"


@pytest.mark.parametrize(
    ("folder", "reached", "planned"),
    [
        # 1,460 of them steer three attributes, beside the older model; 1,730 came with the curve's
        # rivals: files of others' decoders and the report, a code, references, perceptrons' forces.
        # 10 count a decoder's work without the compiler; 70 read plain perceptrons out of files.
        ("lib/dgm", 11_250, 8_000),
        # 2,800 train, read, rank and score rewriters; 1,000 came with chapter 1's rivals, the
        # claims' plots and chapter 6's series and longest training; 150 measure how music sounds;
        # 60 hold chorales' long training, and a sitting of two rewriters on two typed sets.
        ("lib/dgm_book", 15_655, 10_500),
        # 1,900 of rewriters, 950 independent of the library, 90 of how music sounds and of those.
        ("tests", 28_865, 21_000),
    ],
)
def test_lines_of_a_folder(folder, reached, planned):
    lines = code_size.total_lines(ROOT / folder)
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
    # The plan's 350; what steers, reads and copies sentences; and the curve's rivals.
    assert len(code_size.public_names(LIBRARY / "dgm")) <= 436


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
