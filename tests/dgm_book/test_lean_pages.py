"""What the book's pages leave out, and how they carry their widgets."""

import base64
import json
import re
import shutil
import zlib
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

WORDS = {"card", "show", "toc"}


@pytest.mark.parametrize(
    ("css", "expected"),
    [
        (".card{a:b}.carousel{a:b}", ".card{a:b}"),
        (".card,.carousel .show,#toc{a:b}", ".card,#toc{a:b}"),
        (".card:not(.carousel,.x){a:b}", ".card:not(.carousel,.x){a:b}"),
        ("a:is(.x,.y),b{a:b}", "a:is(.x,.y),b{a:b}"),
        ("@media print{.x{a:b}.show{c:d}}", "@media print{.show{c:d}}"),
        ("@media print{.x{a:b}}.show{c:d}", ".show{c:d}"),
        ("@keyframes x{0%{a:b}to{a:c}}", "@keyframes x{0%{a:b}to{a:c}}"),
        ('@charset "u;8";.show{content:"}.x{"}', '@charset "u;8";.show{content:"}.x{"}'),
        ("/* .x{ */.show/* } */{a:b}", ".show{a:b}"),
        (".bs-tooltip-auto,.col-1\\/2{a:b}", ".bs-tooltip-auto{a:b}"),
        ('.show[title=".x"]{a:b}', '.show[title=".x"]{a:b}'),
        (".show{}", ""),
    ],
)
def test_only_rules_that_may_apply_are_kept(extension, css, expected):
    assert extension.lean_css(css, WORDS) == expected
    assert extension.lean_css(expected, WORDS) == expected


def test_a_later_build_finds_the_whole_style_sheet_again(extension, tmp_path):
    static, originals = tmp_path / "static", tmp_path / "originals"
    font = static / f"{extension.ICONS}.ttf"
    font.parent.mkdir(parents=True)
    theme = Path(find_spec("pydata_sphinx_theme").origin).parent / "theme/pydata_sphinx_theme"
    shutil.copy(theme / "static" / f"{extension.ICONS}.ttf", font)
    sheet = static / "style.css"
    sheet.write_text(".card{a:b}.carousel:before{content:'\\f030'}")
    sizes = []
    for words in (WORDS, WORDS | {"carousel"}, WORDS):
        extension.lean_styles(static, words, originals)
        assert ("carousel" in sheet.read_text()) == ("carousel" in words)
        sizes.append(font.stat().st_size)
    assert sizes[0] == sizes[2] < sizes[1] < 20_000


def test_a_packed_state_holds_what_it_held(extension, tmp_path, monkeypatch):
    monkeypatch.setattr(extension, "MOST_BYTES", 2047)
    data = bytes(range(256)) * 8
    model = {"state": {"label": "é </b>", "weights": None}, "model_name": "AnyModel"}
    buffers = [
        {"path": [name], "encoding": "base64", "data": base64.b64encode(piece).decode()}
        for name, piece in (("weights", data[1:]), ("codes", b""), ("more", data))
    ]
    states = {"version_major": 2, "state": {"a": model | {"buffers": buffers}, "b": model}}
    page = f"<p>{extension.script(extension.STATE, states)}</p>"
    packed = extension.STATES.sub(partial(extension.packed_state, folder=tmp_path), page)
    kind = 'type="application/x-dgm-state"'
    pattern = rf'<p><script {kind} data-head="(\d+)" data-beside="(.+)">([\w+/=]+)</script></p>'
    match = re.fullmatch(pattern, packed)
    whole = zlib.decompress(base64.b64decode(match[3]))
    sent, rest = json.loads(whole[: int(match[1])]), whole[int(match[1]) :]
    assert sent["state"]["b"] == model
    *inside, beside = sent["state"]["a"]["buffers"]
    places = [buffer["at"] for buffer in inside]
    assert [rest[start : start + size] for start, size in places] == [data[1:], b""]
    assert (beside["path"], beside["file"]) == (["more"], match[2])
    text = re.fullmatch(rf'dgmModel\("{match[2]}", "(.+)"\);\n', (tmp_path / match[2]).read_text())
    assert zlib.decompress(base64.b64decode(text[1])) == data
    assert beside["size"] == len(text[1])
    assert len(packed) < len(page) / 2
