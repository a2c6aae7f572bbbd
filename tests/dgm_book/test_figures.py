"""Figures take the page's colours, carry alternative text, and come out the same each time."""

import base64
import io
import re

import pytest
import torch
from PIL import Image

from dgm_book import figures

BETA = torch.logspace(-1, 2, 6)
CURVE = {
    "label": "a <model>",
    "beta": BETA,
    **dict.fromkeys(("rate", "legendre_rate"), torch.linspace(0.2, 9, 6)),
    **dict.fromkeys(("rate_error", "gap", "standard_error"), [0.1] * 6),
    "distortion": torch.linspace(30, 4, 6),
    "acceptance": [0.9] * 6,
    "ess": [3.0] * 6,
}

RUNS = [([0, 1, 2], [3.0, 2.0, 1.0]), ([0, 1], [4.0, 3.0])]
POINTS = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
PATTERNS = torch.arange(4).repeat_interleave(4).view(4, 4)
GREY = torch.arange(384).view(6, 1, 8, 8).to(torch.uint8)
TITLE = {"title": "a <model>"}
SEEDS = torch.tensor([[40.0, 60.0], [50.0, 80.0]])
DRAWN = {
    "rate_distortion_panels": ([TITLE | {"unit": "nats", "curves": [CURVE, CURVE]}],),
    "against_beta": (
        [TITLE | {"y": "nats", "log": True, "levels": [1], "lines": {"one": (BETA, BETA)}}],
    ),
    "deviations": (BETA, dict.fromkeys(("log Z", "R"), (torch.zeros(6), torch.ones(6))), "nats"),
    "gaps": ([CURVE], 1.0),
    "sampler_health": ([CURVE], 8),
    "frontier": (
        [{"label": "a <model>", "kept": SEEDS, "accuracy": SEEDS}],
        [{"label": "b", "kept": SEEDS[0], "accuracy": SEEDS[1]}],
    ),
    "histograms": ([{"label": "a <model>", "curves": {"one": POINTS[:, 0]}}], "nats"),
    "components": ({"a <model>": {4: [[1, 5], [2, 6]], 8: [[3, 9], [2, 8]]}},),
    "through_training": ([TITLE | {"lines": {"none": RUNS, "with": RUNS}}] * 2, "score"),
    "pairs": ([TITLE | {"columns": {"none": [1.0, 2.0], "with": [2.0, 2.5]}}],),
    "ladder": ([TITLE | {"rows": {"none": [1.0, 2.0], "with": [2.5]}}] * 2,),
    "by_place": ([TITLE | {"x": "place", "y": "nats", "log": True, "lines": {"one": [1, 0.2]}}],),
    "plane": ([TITLE | {"patterns": PATTERNS, "data": POINTS, "samples": POINTS}] * 2, 1.5),
    "tiles": ([TITLE | {"images": x} for x in (GREY, torch.cat([GREY, GREY, 255 - GREY], 1))], 3),
}


def draw(kind):
    return getattr(figures, kind)(*DRAWN[kind], "Finding.")


def before_and_after(drawn):
    """An SVG as matplotlib writes it, and as the page gets it."""
    saved = drawn._save("svg")
    drawn._save = lambda kind: saved
    return saved.decode(), drawn.svg()


@pytest.mark.parametrize("kind", DRAWN)
def test_a_figure_suits_the_page_and_keeps_all_that_it_shows(kind):
    drawn = draw(kind)
    raw, svg = before_and_after(drawn)
    assert svg.startswith("<svg ")
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert not re.search(r"(fill|stroke): ?#(000000|ffffff)", svg)
    assert "font-family" not in svg  # the page's own
    assert not re.search(r'd="[^"]*\n', svg)
    numbers = [
        re.findall(r"[A-Za-z]|-?[\d.]+", " ".join(re.findall(r' d="([^"]*)"', text)))
        for text in (raw, svg)
    ]
    assert numbers[0]
    for before, after in zip(*numbers, strict=True):
        assert before == after or abs(float(before) - float(after)) < 0.01
    words, shown = (re.findall(r"<text[^>]*>\s*([^<]*?)\s*<", text) for text in (raw, svg))
    assert words == shown
    bundle = drawn._repr_mimebundle_()
    assert len(re.search(r'aria-label="([^"]+)"', bundle["text/html"]).group(1)) > 40
    assert "<model>" not in bundle["text/html"]
    assert "<figcaption>Finding.</figcaption>" in bundle["text/html"]
    assert "Finding." in bundle["text/plain"]
    assert draw(kind).svg() == svg, "not the same each time"


def test_the_labels_of_ticks_equal_their_values():
    panel = {"title": "t", "rows": {"none": [3.101, 3.109], "with": [3.121]}}
    drawn = figures.ladder([panel, panel], "Finding.")
    svg, axis = drawn.svg(), drawn.figure.axes[0].xaxis
    # A label stands where its value belongs: as far apart on the page as in value.
    labels = [float(t) for t in re.findall(r"<text[^>]*>(3\.\d+)<", svg)]
    assert len(labels) >= 6
    low, high = axis.get_view_interval()
    ticks = [value for value in axis.get_majorticklocs() if low <= value <= high]
    assert labels[: len(ticks)] == pytest.approx(ticks, abs=1e-6)


def test_fakes_of_a_baseline_have_its_colour_and_the_data_s_own_line_the_ink():
    patterns = torch.zeros(4, 4, dtype=torch.long)
    points = torch.zeros(1, 2)
    panel = {"title": "t", "patterns": patterns, "data": points, "samples": points}
    drawn = figures.plane([{**panel, "baseline": True}, panel], 1.5, "Finding.")
    colours = [axes.lines[1].get_color() for axes in drawn.figure.axes]
    assert colours == [figures.BASELINE, figures.MODEL]
    lines = {name: [([0, 1], [1.0, 2.0])] for name in ("none", "with", "the text itself")}
    panel = {"title": "t", "lines": lines, "reference": "the text itself"}
    drawn = figures.through_training([panel, panel], "score", "Finding.")
    assert [line.get_color() for line in drawn.figure.axes[0].lines[1::2]] == [
        figures.BASELINE,
        figures.MODEL,
        figures.PAGE,
    ]


def picture(png):
    return Image.open(io.BytesIO(base64.b64decode(png)))


def test_an_image_in_a_figure_keeps_its_pixels_and_no_empty_channel():
    before, after = (
        [picture(png) for png in re.findall(r'image/png;base64,([^"]+)"', text)]
        for text in before_and_after(draw("tiles"))
    )
    assert [image.mode for image in before] == ["RGBA", "RGBA"]
    assert [image.mode for image in after] == ["L", "RGB"]
    for old, new in zip(before, after, strict=True):
        assert old.tobytes() == new.convert("RGBA").tobytes()


def test_a_transparent_image_stays_so():
    half = Image.new("RGBA", (2, 2), (9, 9, 9, 128))
    half.save(stream := io.BytesIO(), "PNG")
    smaller = figures._smaller(base64.b64encode(stream.getvalue()).decode())
    assert picture(smaller).tobytes() == half.tobytes()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("plane", "4 pieces"),
        ("through_training", "none: 3.5 to 2.5"),  # a mean goes as far as every seed
        ("ladder", "none 1.5, with 2.5"),
        ("components", "1.5 components of 5.5 nodes at 4"),
        ("frontier", "60 % at 40"),
    ],
)
def test_the_alternative_text_sums_up(kind, text):
    drawn = draw(kind)
    if kind == "frontier":
        drawn = figures.frontier([], [{"label": "b", "kept": [40.0], "accuracy": [60.0]}], "F.")
    assert text in drawn.alt


def test_lines_differ_by_more_than_colour():
    styles = [(dash, mark) for _, dash, mark in figures.SERIES]
    assert len(set(styles)) == len(styles)


def test_table_and_badge_escape_text():
    html = figures.table(["<a>"], [["1 & 2"]], "caption")._repr_mimebundle_()["text/html"]
    assert "&lt;a&gt;" in html
    assert "1 &amp; 2" in html
    assert 'data-current="false"' in figures.badge("smoke · earlier code").html
    assert 'data-current="true"' in figures.badge("smoke").html


def test_glue_hands_named_numbers_to_the_prose(monkeypatch):
    displayed = []
    show = lambda data, **rest: displayed.append((data, rest))  # noqa: E731
    monkeypatch.setattr("IPython.display.display", show)
    values = {"floor": "2.7 ± 0.4", "share": "0.30", "steps": "1,500", "text": "the model's 'own'"}
    figures.glue(**values)
    page = pytest.importorskip("myst_nb.core.variables")
    for (data, rest), (name, value) in zip(displayed, values.items(), strict=True):
        (text,) = data.values()
        assert page.format_plain_text(text, "s") == value
        assert rest["metadata"]["scrapbook"]["name"] == name
