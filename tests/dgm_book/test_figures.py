"""Figures take the page's colours, carry alternative text, and come out the same each time."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from dgm_book import figures

BETA = torch.logspace(-1, 2, 6)
RUNS = [([0, 1, 2], [3.0, 2.0, 1.0]), ([0, 1], [4.0, 3.0])]
POINTS = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
PATTERNS = torch.arange(4).repeat_interleave(4).view(4, 4)
GREY = torch.arange(384).view(6, 1, 8, 8).to(torch.uint8)
TITLE = {"title": "a <model>"}
MEAN, REACH = figures.spread([[40.0, 60.0], [50.0, 80.0]])
BAND = {"x": "beta", "log": "xy", "lines": {"a": (BETA, BETA, BETA / 2), "b": (BETA, BETA)}}
BARS = BAND | {"bars": "points", "log": "x", "levels": [0], "limit": (1, "1 nat"), "ylim": (0, 9)}
MARKS = {"lines": {"<a>": (MEAN, MEAN, REACH, REACH)}, "bars": "joined"}
MARKS |= {"marks": {"b": ([40.0], [60.0], [[1.0], [2.0]])}}
REFERRED = {"lines": {"a": (MEAN, MEAN)}, "references": {"r": ([10.0, 90.0], [5.0, 7.0])}}
PLANE = TITLE | {"patterns": PATTERNS, "data": POINTS, "samples": POINTS}
HISTOGRAM = {"label": "a <model>", "curves": {"one": POINTS[:, 0]}}
COLOUR = torch.cat([GREY, GREY, 255 - GREY], 1)
# Of each kind of figure the function, its arguments, and a part of its alternative text.
DRAWN = {
    "bands": (figures.curves, ([TITLE | BAND, BAND],), "a <model>, a: 0.1 to 100"),
    "bars": (figures.curves, ([BARS],), "b: 0.1 to 100"),
    "marks": (figures.curves, ([MARKS],), "b: 60"),
    "references": (figures.curves, ([REFERRED],), "a: 45 to 70"),
    "places": (figures.curves, ([TITLE | {"lines": {"one": [1, 0.2]}}],), "one: 1 to 0.2"),
    "histograms": (figures.histograms, ([HISTOGRAM], "nats"), "one: "),
    "training": (  # a mean goes as far as every seed
        figures.through_training,
        ([TITLE | {"lines": {"none": RUNS, "with": RUNS}}] * 2, "score"),
        "none: 3.5 to 2.5",
    ),
    "pairs": (figures.pairs, ([TITLE | {"columns": {"x": [1.0, 2.0], "y": [2.0, 2.5]}}],), "x 1.5"),
    "ladder": (
        figures.ladder,
        ([TITLE | {"rows": {"none": [1.0, 2.0], "with": [2.5]}}] * 2,),
        "none 1.5, with 2.5",
    ),
    "plane": (figures.plane, ([PLANE] * 2, 1.5), "4 pieces"),
    "tiles": (figures.tiles, ([TITLE | {"images": x} for x in (GREY, COLOUR)], 3), "a <model>"),
}


def draw(kind):
    function, arguments, _ = DRAWN[kind]
    return function(*arguments, "Finding.")


def before_and_after(drawn):
    """An SVG as matplotlib writes it, and as the page gets it."""
    saved = drawn._save()
    drawn._save = lambda: saved
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
    paths = [" ".join(re.findall(r' d="([^"]*)"', text)) for text in (raw, svg)]
    numbers = [re.findall(r"[A-Za-z]|-?[\d.]+", path) for path in paths]
    assert numbers[0]
    for before, after in zip(*numbers, strict=True):
        assert before == after or abs(float(before) - float(after)) < 0.01
    words, shown = (re.findall(r"<text[^>]*>\s*([^<]*?)\s*<", text) for text in (raw, svg))
    assert words == shown
    bundle = drawn._repr_mimebundle_()
    assert len(re.search(r'aria-label="([^"]+)"', bundle["text/html"]).group(1)) > 20
    assert DRAWN[kind][2] in drawn.alt
    assert not {"<model>", "<a>"} & set(re.findall("<[a-z]+>", bundle["text/html"]))
    assert "<figcaption>Finding.</figcaption>" in bundle["text/html"]
    assert "Finding." in bundle["text/plain"]
    assert draw(kind).svg() == svg, "not the same each time"


def test_equal_marks_say_their_style_once_and_keep_what_they_refer_to():
    svg = figures._lean(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        '<g id="a"><path id="m" d="M 0 0"/></g><g clip-path="url(#p)"><g id="b">'
        '<use xlink:href="#m" x="1" style="fill: red"/><use xlink:href="#m" x="2" style="fill: red"'
        '/></g></g><g><use xlink:href="#m" style="opacity: 0.5"/>'
        '<use xlink:href="#m" style="opacity: 0.5"/></g><clipPath id="p"><text>a</text></clipPath>'
        "</svg>"
    )
    assert svg.endswith(
        '<path id="m" d="M 0 0"/><g clip-path="url(#p)"><g style="fill:red"><use xlink:href="#m" '
        'x="1"/><use xlink:href="#m" x="2"/></g></g><use xlink:href="#m" style="opacity:0.5"/>'
        '<use xlink:href="#m" style="opacity:0.5"/><clipPath id="p"><text>a</text></clipPath></svg>'
    )


def test_bands_bars_and_marks_are_as_wide_as_they_are_given():
    axes = draw("bands").figure.axes[0]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.05, 150))
    assert [axes.get_xscale(), axes.get_yscale()] == ["log", "log"]
    assert MEAN.tolist() == [45, 70]
    assert REACH.tolist() == [[5, 10], [5, 10]]
    lines = [line for line in draw("marks").figure.axes[0].lines if line.get_linestyle() != "None"]
    assert [line.get_xdata().tolist() for line in lines] == [[45, 70]]
    line, thin = draw("references").figure.axes[0].lines
    assert (thin.get_label(), list(thin.get_xdata())) == ("r", [10.0, 90.0])
    assert thin.get_linewidth() < line.get_linewidth()
    places = draw("places").figure.axes[0].lines[0]
    assert np.asarray(places.get_xdata()).tolist() == [1, 2]


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


def test_a_baseline_has_its_colour_the_data_s_own_line_the_ink_and_all_lines_differ():
    drawn = figures.plane([PLANE | {"baseline": True}, PLANE], 1.5, "Finding.")
    colours = [axes.lines[1].get_color() for axes in drawn.figure.axes]
    assert colours == [figures.BASELINE, figures.MODEL]
    lines = {name: [([0, 1], [1.0, 2.0])] for name in ("none", "with", "the text itself")}
    panel = {"title": "t", "lines": lines, "reference": "the text itself"}
    drawn = figures.through_training([panel, panel], "score", "Finding.")
    shown = [line.get_color() for line in drawn.figure.axes[0].lines[1::2]]
    assert shown == [figures.BASELINE, figures.MODEL, figures.PAGE]
    drawn = figures.curves([{"lines": {"none": [1, 2], "with": [2, 3]}}], "Finding.", baseline=True)
    shown = [line.get_color() for line in drawn.figure.axes[0].lines]
    assert shown == [figures.BASELINE, figures.MODEL]
    styles = [(dash, mark) for _, dash, mark in figures.SERIES]
    assert len(set(styles)) == len(styles)


def test_an_image_in_a_figure_keeps_its_pixels_and_no_empty_channel():
    def picture(png):
        return Image.open(io.BytesIO(base64.b64decode(png)))

    before, after = (
        [picture(png) for png in re.findall(r'image/png;base64,([^"]+)"', text)]
        for text in before_and_after(draw("tiles"))
    )
    assert [image.mode for image in before] == ["RGBA", "RGBA"]
    assert [image.mode for image in after] == ["L", "RGB"]
    for old, new in zip(before, after, strict=True):
        assert old.tobytes() == new.convert("RGBA").tobytes()
    half = Image.new("RGBA", (2, 2), (9, 9, 9, 128))  # one that is transparent stays so
    half.save(stream := io.BytesIO(), "PNG")
    smaller = figures._smaller(base64.b64encode(stream.getvalue()).decode())
    assert picture(smaller).tobytes() == half.tobytes()


def test_table_and_badge_escape_text():
    html = figures.table(["<a>"], [["1 & 2"]], "caption")._repr_mimebundle_()["text/html"]
    assert "&lt;a&gt;" in html
    assert "1 &amp; 2" in html
    assert 'data-current="false"' in figures.badge("smoke · earlier code").html
    assert 'data-current="true"' in figures.badge("smoke").html


def test_rates_stand_at_their_places_and_folded_parts_keep_their_text():
    rate = figures.Rate("<a>", 0.25, 0.125, 0.5, "model", 0.3)
    shown = figures.rates({"b & c": [rate, rate._replace(kind="truth")]}, "d", figures.badge("e"))
    assert '<line x1="12.5%" x2="50.0%" y1="50%"' in shown.html
    assert shown.html.count('cx="25.0%"') == shown.html.count('<rect x="25.0%"') == 1
    assert shown.html.count('<line x1="30.0%" x2="30.0%"') == 2
    assert "<a>" not in shown.html
    assert "b & c, <a>: 25 and 30 % (12 to 50 %)" in shown.plain
    folded = figures.folded("<f>", shown, figures.lines([("g <", "h", "i")]))
    assert folded.html.startswith('<details class="dgm-folded"><summary>&lt;f&gt;</summary>')
    assert "g &lt; <q>h</q> i" in folded.html
    assert folded.plain.endswith("g < h i")


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
