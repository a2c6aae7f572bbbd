"""Figures take the page's colours, carry alternative text, and come out the same each time."""

import re

import pytest
import torch

from dgm import figures

BETA = torch.logspace(-1, 2, 6)
CURVE = {
    "label": "a <model>",
    "beta": BETA,
    "rate": torch.linspace(0.2, 9, 6),
    "rate_error": torch.full((6,), 0.1),
    "distortion": torch.linspace(30, 4, 6),
    "legendre_rate": torch.linspace(0.2, 9, 6),
    "acceptance": [0.9] * 6,
    "ess": [3.0] * 6,
    "gap": [0.1] * 6,
    "standard_error": [0.05] * 6,
}


def draw(kind):
    if kind == "rate_distortion":
        return figures.rate_distortion([CURVE, CURVE], "Finding.")
    if kind == "deviations":
        missed = {"log Z": (torch.zeros(6), torch.ones(6)), "R": (torch.ones(6), torch.ones(6))}
        return figures.deviations(BETA, missed, "nats", "Finding.")
    if kind == "gaps":
        return figures.gaps([CURVE], 1.0, "Finding.")
    if kind == "through_training":
        runs = [([0, 1, 2], [3.0, 2.0, 1.0]), ([0, 1], [4.0, 3.0])]
        panel = {"title": "a <model>", "lines": {"none": runs, "with": runs}}
        return figures.through_training([panel, panel], "score", "Finding.")
    if kind == "pairs":
        panel = {"title": "a <model>", "columns": {"none": [1.0, 2.0], "with": [2.0, 2.5]}}
        return figures.pairs([panel], "Finding.")
    if kind == "ladder":
        panel = {"title": "a <model>", "rows": {"none": [1.0, 2.0], "with": [2.5]}}
        return figures.ladder([panel, panel], "Finding.")
    if kind == "by_place":
        panel = {"title": "a <model>", "x": "place", "y": "nats", "lines": {"one": [1.0, 0.25]}}
        return figures.by_place([panel, {**panel, "log": True}], "Finding.")
    if kind == "plane":
        patterns = torch.arange(4).repeat_interleave(4).view(4, 4)
        points = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
        panel = {"title": "a <model>", "patterns": patterns, "data": points, "samples": points}
        return figures.plane([panel, panel], 1.5, "Finding.")
    if kind == "tiles":
        grey = torch.zeros(6, 1, 8, 8, dtype=torch.uint8)
        colour = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
        panels = [{"title": "a <model>", "images": x} for x in (grey, colour)]
        return figures.tiles(panels, 3, "Finding.")
    return figures.sampler_health([CURVE], 8, "Finding.")


KINDS = [
    "rate_distortion",
    "deviations",
    "gaps",
    "sampler_health",
    "through_training",
    "pairs",
    "ladder",
    "by_place",
    "plane",
    "tiles",
]


@pytest.mark.parametrize("kind", KINDS)
class TestFigure:
    def test_svg_suits_light_and_dark(self, kind):
        svg = draw(kind).svg()
        assert svg.startswith("<svg ")
        assert "currentColor" in svg
        assert "#010203" not in svg
        assert not re.search(r"(fill|stroke): ?#(000000|ffffff)", svg)

    def test_has_alternative_text_and_a_caption(self, kind):
        bundle = draw(kind)._repr_mimebundle_()
        label = re.search(r'aria-label="([^"]+)"', bundle["text/html"]).group(1)
        assert len(label) > 40
        assert "<model>" not in bundle["text/html"]
        assert "<figcaption>Finding.</figcaption>" in bundle["text/html"]
        assert "Finding." in bundle["text/plain"]

    def test_is_the_same_each_time(self, kind):
        assert draw(kind).svg() == draw(kind).svg()


def test_the_plane_counts_its_pieces():
    assert "4 pieces" in draw("plane").alt


def test_a_mean_goes_as_far_as_every_seed():
    assert "none: 3.5 to 2.5" in draw("through_training").alt


def test_steps_may_be_of_anything():
    panel = {"title": "t", "lines": {"none": [([0, 1], [1.0, 2.0])]}}
    drawn = figures.through_training([panel, panel], "score", "Finding.", steps="epochs")
    assert "epochs" in drawn.svg()


def test_a_ladder_tells_means():
    assert "none 1.5, with 2.5" in draw("ladder").alt


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
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **rest: shown.append((data, rest)))
    figures.glue(floor="2.7 ± 0.4")
    ((data, rest),) = shown
    assert data == {"application/papermill.record/text/plain": "2.7 ± 0.4"}
    assert rest["metadata"]["scrapbook"]["name"] == "floor"
