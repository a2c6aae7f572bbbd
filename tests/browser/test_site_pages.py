"""What every page of the built book has beside its text, and the book printed as one file."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = yaml.safe_load((ROOT / "book" / "chapters.yaml").read_text("utf-8"))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter["page"])
def test_a_thumbnail_leads_to_an_action_of_the_opening(chapter):
    notebook = nbformat.read(ROOT / f"{chapter['page']}.ipynb", as_version=4)
    opening = next(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert f"(#{chapter.get('address', '')}" in opening or "address" not in chapter


def test_the_gallery_shows_each_chapter_and_starts_its_widget(visit, serve, book):
    view = visit(f"{serve(book)}/book/intro.html")
    cards = view.page.locator(".dgm-gallery a")
    assert cards.count() == len(CHAPTERS)
    for card in cards.all():
        card.scroll_into_view_if_needed()
        image = card.locator("img")
        view.page.wait_for_function("image => image.naturalWidth > 99", arg=image.element_handle())
    view.page.wait_for_load_state("networkidle")
    assert 0 < view.received() <= 3_000_000
    moves = "image => image.currentSrc.endsWith('.webp') && image.naturalWidth > 99"
    for card in cards.all():
        card.hover()
        view.page.wait_for_function(moves, arg=card.locator("img").element_handle())
    view.page.mouse.move(0, 0)
    assert not cards.last.locator("img").evaluate(moves)
    cards.first.press("Enter")
    view.page.get_by_text(re.compile("^Set by a link: beta")).wait_for(state="attached")
    view.assert_clean()


@pytest.mark.parametrize("allowed", [True, False])
def test_the_entries_to_cite_are_copied_by_keyboard_from_the_disk(visit, book, allowed):
    script = "" if allowed else "delete Navigator.prototype.clipboard"
    rights = ["clipboard-read", "clipboard-write"] if allowed else []
    view = visit(f"{book.as_uri()}/{CHAPTERS[5]['page']}.html", script, permissions=rights)
    block = view.page.locator(".dgm-cite")
    block.locator("summary").press("Enter")
    button = block.get_by_role("button", name="Copy BibTeX")
    button.press("Enter")
    block.get_by_text("Copied.", exact=True).wait_for()
    if allowed:
        copied = view.page.evaluate("navigator.clipboard.readText()")
        assert copied == block.locator("pre").text_content()
    assert view.axe() == ""
    view.assert_clean()


@pytest.mark.parametrize("page", sorted(p.stem for p in (ROOT / "book" / "api").glob("*.md")))
def test_no_page_of_the_reference_is_endless(visit, book, page):
    view = visit(f"{book.as_uri()}/book/api/{page}.html")
    assert view.page.evaluate("document.documentElement.scrollHeight") < 60_000
    view.page.set_viewport_size({"width": 390, "height": 844})
    assert view.page.evaluate("document.documentElement.scrollWidth") <= 390
    view.assert_clean()


def pictures(element) -> list[str]:
    """The alternative texts of all figures of a tagged PDF, in their order."""
    texts, stack = [], [element]
    while stack:
        node = stack.pop().get_object()
        if isinstance(node, list):
            stack += reversed(node)
        elif isinstance(node, dict):
            texts += [str(node.get("/Alt", ""))] if node.get("/S") == "/Figure" else []
            stack += [node.raw_get("/K")] if "/K" in node else []
    return texts


def words(text: str) -> str:
    """A text by which two spellings of it compare."""
    return re.sub(r"\W+", "", text)[:60]


def test_the_printed_book_has_every_figure_and_poster(visit, serve, book):
    printed = book / "deep-generative-models.pdf"
    if not printed.exists():
        pytest.skip("the book was not printed: run `make pdf`")
    reader = pytest.importorskip("pypdf").PdfReader(printed)
    assert printed.stat().st_size < 30_000_000
    titles = {str(item.title) for item in reader.outline if not isinstance(item, list)}
    shown = {words(text) for text in pictures(reader.root_object["/StructTreeRoot"])}
    view, missing = visit("about:blank"), []
    for chapter in CHAPTERS:
        view.page.goto(f"{serve(book)}/{chapter['page']}.html")
        heading = view.page.locator("h1").first.evaluate("node => node.firstChild.textContent")
        assert heading in titles
        script = """() => {
          const svg = [...document.querySelectorAll("figure.dgm-figure svg")];
          const text = [...document.querySelectorAll("main noscript")].map(n => n.textContent);
          const posters = new DOMParser().parseFromString(text.join(""), "text/html").images;
          return [svg.map(n => n.getAttribute("aria-label")), [...posters].map(n => n.alt)];
        }"""
        figures, posters = view.page.evaluate(script)
        assert figures
        assert posters
        missing += [text for text in figures + posters if words(text) not in shown]
    assert missing == []
