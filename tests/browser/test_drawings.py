"""Each chapter's drawing: it says what it shows, moves when asked, and stays still for some."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = yaml.safe_load((ROOT / "book" / "chapters.yaml").read_text("utf-8"))
FINISH = "svg => svg.getAnimations({ subtree: true }).map(move => move.finish()).length"
ENDED = "!document.querySelector('.dgm-moves')"


@pytest.mark.parametrize("page", [chapter["page"] for chapter in CHAPTERS])
def test_a_drawing_is_described_plays_once_and_lights_its_symbols(visit, serve, book, page):
    url = f"{serve(book)}/{page}.html"
    view = visit(url)
    figure, svg = view.page.locator(".dgm-drawing"), view.page.locator(".dgm-drawing svg[role=img]")
    for part in ("svg > title", "svg > desc", "figcaption"):
        assert len(figure.locator(part).text_content()) > 20
    for _ in range(2):
        figure.get_by_role("button", name="Play").click()
        assert "dgm-moves" in figure.get_attribute("class")
        assert svg.evaluate(FINISH) > 5
        view.page.wait_for_function(ENDED)
    svg.locator("[class*=dgm-symbol-]").first.hover()
    view.page.locator("mjx-math .dgm-lit").first.wait_for(state="attached")
    view.assert_clean()
    still = visit(url, reduced_motion="reduce").page.locator(".dgm-drawing")
    assert still.locator("svg").is_visible()
    assert not still.locator("button").is_visible()
