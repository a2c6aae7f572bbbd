"""What makes the pages easy to find, to cite and to go on from.

Each page gets a description and a card for those who share it, and an entry to cite it by; each
chapter its time to read and a card of the next one. `{dgm-gallery}` shows all chapters, as
`book/chapters.yaml` lists them, `{dgm-pdf}` the place where the book is offered as one file.
"""

from __future__ import annotations

import functools
import re
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from docutils import nodes
from pybtex.database import Entry, parse_file
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri

CARD = "_static/social-card.png"
PDF = "deep-generative-models.pdf"
WORDS_PER_MINUTE = 220
# Lengths of a description, in characters: search engines show little more than the second.
SHORT, LONG = 70, 160


def read_chapters(app: Sphinx, config: Config) -> None:
    """Makes the list of chapters part of the configuration, so that a change writes pages anew."""
    path = Path(app.srcdir, "book", "chapters.yaml")
    config.dgm_chapters = yaml.safe_load(path.read_text("utf-8")) if path.is_file() else []


def link(app: Sphinx, page: str, target: str, address: str = "") -> str:
    """The address of a page as another page has to write it, and in it a setting of a widget."""
    where = relative_uri(app.builder.get_target_uri(page), app.builder.get_target_uri(target))
    return where + (f"#{quote(address, safe='=:,;/%')}" if address else "")


def thumbnail(app: Sphinx, chapter: dict[str, Any]) -> str:
    """The picture of a chapter's first widget, cut to what can be seen in it when it is small."""
    name = chapter["page"].rpartition("/")[2]
    film = f"moving/{name}.webp"
    there = Path(app.srcdir, "book", "_static", film).is_file()
    moving = f'data-moving="../_static/{film}" ' if there else ""
    style = f"--dgm-zoom:{chapter.get('zoom', 1)};transform-origin:{chapter.get('focus', '0 0')}"
    return (
        f'<span class="dgm-thumb"><img src="../_static/posters/{name}-0.png" alt="" '
        f'{moving}loading="lazy" width="688" height="540" style="{style}"></span>'
    )


@functools.cache
def papers(path: Path) -> dict[str, str]:
    """Who wrote what is in the bibliography, and when, by key."""
    entries = parse_file(path).entries if path.is_file() else {}
    return {key: authors(entry) for key, entry in entries.items() if "author" in entry.persons}


def authors(entry: Entry) -> str:
    """The names of up to two authors of an entry, with its year."""
    names = [" ".join(person.last_names) for person in entry.persons["author"]]
    first = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
    return f"{first} {entry.fields.get('year', '')}".strip()


class GalleryDirective(SphinxDirective):
    """`{dgm-gallery}`."""

    def run(self) -> list[nodes.Node]:
        """Leaves the place: the chapters' titles may not have been read yet."""
        return [nodes.raw(text="<!-- dgm-gallery -->", format="html")]


class PDFDirective(SphinxDirective):
    """`{dgm-pdf}`."""

    def run(self) -> list[nodes.Node]:
        """A place that shows nothing until `make pdf` has printed the book."""
        return [nodes.raw(text="<!-- dgm-pdf --><!-- /dgm-pdf -->", format="html")]


def title_of(app: Sphinx, page: str) -> str:
    """A page's title as plain text."""
    return app.env.titles[page].astext() if page in app.env.titles else page


def gallery(app: Sphinx, page: str) -> str:
    """All chapters: a picture, the question, and a link to what can be done first."""
    items = []
    for number, chapter in enumerate(app.config.dgm_chapters, start=1):
        target = chapter["page"]
        paper = papers(Path(app.srcdir, "book", "references.bib")).get(chapter["paper"], "")
        start = link(app, page, target, chapter.get("address", ""))
        items.append(
            f'<li><a class="dgm-card" href="{escape(start)}">{thumbnail(app, chapter)}'
            f'<span class="dgm-card-title">{number}. {escape(title_of(app, target))}</span>'
            f'<span class="dgm-card-paper">{escape(paper)}</span>'
            f'<span class="dgm-card-question">{escape(chapter["question"])}</span>'
            f'<span class="dgm-card-action">{escape(chapter["action"])} →</span></a></li>'
        )
    return f'<ol class="dgm-gallery">{"".join(items)}</ol>'


def next_card(app: Sphinx, page: str) -> str:
    """A link to the next chapter, after the last one to all claims; elsewhere nothing."""
    chapters = app.config.dgm_chapters
    pages = [chapter["page"] for chapter in chapters]
    if page not in pages:
        return ""
    rest = chapters[pages.index(page) + 1 :]
    target = rest[0]["page"] if rest else "book/claims"
    if target not in app.env.titles:
        return ""
    picture = thumbnail(app, rest[0]) if rest else ""
    question = rest[0]["question"] if rest else "What the six papers claim, and what we measured."
    return (
        f'<a class="dgm-card dgm-next" href="{escape(link(app, page, target))}">{picture}'
        f'<span><span class="dgm-card-action">{"Next chapter" if rest else "Next"} →</span>'
        f'<span class="dgm-card-title">{escape(title_of(app, target))}</span>'
        f'<span class="dgm-card-question">{escape(question)}</span></span></a>'
    )


def description(doctree: nodes.document) -> str:
    """A page's first sentences: one, or as many as make a short text."""
    for paragraph in doctree.findall(nodes.paragraph):
        if not isinstance(paragraph.parent, nodes.section):
            continue
        skip = isinstance(paragraph.children[0], nodes.strong)
        parts = paragraph.children[skip:]  # without "Try it."
        text = " ".join("".join(part.astext() for part in parts).split())
        result = ""
        for sentence in re.split(r"(?<=[.?!:])\s+(?=[A-Z])", text):
            if result and (len(result) >= SHORT or len(result) + len(sentence) >= LONG):
                break
            result = f"{result} {sentence}".strip()
        if len(result) > LONG:
            result = result[: LONG - 1].rpartition(" ")[0].rstrip(",;") + "…"
        if result:
            return result
    return ""


def minutes(doctree: nodes.document) -> int:
    """How long the text of a page takes to read, its code, tables and pictures left out."""
    text = " ".join(node.astext() for node in doctree.findall(nodes.paragraph))
    return max(1, round(len(text.split()) / WORDS_PER_MINUTE))


def absolute(app: Sphinx, path: str) -> str:
    """An address with its host where `html_baseurl` names one, else an empty string."""
    base = app.config.html_baseurl.rstrip("/")
    return f"{base}/{path}" if base else ""


def meta_tags(app: Sphinx, page: str, title: str, text: str, card: str) -> str:
    """What search engines and those who show a link to a page read of it."""
    kind = "article" if page.startswith("notebooks/") else "website"
    values = {
        "og:title": title,
        "og:description": text,
        "og:type": kind,
        "og:site_name": app.config.html_title or app.config.project,
        "og:url": absolute(app, app.builder.get_target_uri(page)),
        "og:image": absolute(app, CARD) or card,
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": app.config.html_title or app.config.project,
    }
    names = {"description": text, "twitter:card": "summary_large_image", "twitter:title": title}
    names |= {"twitter:description": text, "twitter:image": values["og:image"]}
    tags = [f'<meta property="{k}" content="{escape(v)}">' for k, v in values.items() if v]
    tags += [f'<meta name="{k}" content="{escape(v)}">' for k, v in names.items() if v]
    return "\n".join(tags)


def bibtex(app: Sphinx, page: str) -> str:
    """The entry of a page of the book, and of the paper that it is about."""
    pages = [chapter["page"] for chapter in app.config.dgm_chapters]
    book = app.config.html_title or app.config.project
    number = pages.index(page) + 1 if page in pages else 0
    name = re.sub(r"^\d+_", "", page.rpartition("/")[2]).replace("_", "-")
    title, part = title_of(app, page), f"Chapter {number} of {book}" if number else f"In {book}"
    if page == app.config.root_doc:
        name, title, part = "book", book, ""
    fields = {"author": f"{{{app.config.author}}}", "title": f"{{{title}}}", "howpublished": part}
    fields |= {"year": re.sub(r"\D", "", app.config.copyright)[-4:]}
    fields |= {"url": absolute(app, app.builder.get_target_uri(page))}
    lines = [f"  {key:<12} = {{{value}}}" for key, value in fields.items() if value]
    entries = ["@misc{dgm-" + name + ",\n" + ",\n".join(lines) + "\n}"]
    bibliography = Path(app.srcdir, "book", "references.bib")
    if number and bibliography.is_file():
        key = re.escape(app.config.dgm_chapters[number - 1]["paper"])
        paper = re.search(rf"^@\w+{{{key},.*?^}}", bibliography.read_text("utf-8"), re.M | re.S)
        entries += [paper[0]] if paper else []
    return "\n\n".join(entries)


def citation(app: Sphinx, page: str) -> str:
    """A folded block with what to cite, and a button that copies it."""
    what = "chapter" if page.startswith("notebooks/") else "page"
    what = "book" if page == app.config.root_doc else what
    return (
        f'<details class="dgm-cite"><summary>Cite this {what}</summary>'
        f'<pre tabindex="0">{escape(bibtex(app, page))}</pre><p class="pst-js-only">'
        '<button type="button">Copy BibTeX</button> <span role="status"></span></p></details>'
    )


def dress_page(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Adds to a page what this module is for; pages made by the engine get a description alone."""
    title = re.sub(r"<[^>]+>", "", context.get("title", "")) or app.config.project
    text = description(doctree) if doctree else ""
    card = context["pathto"](CARD, 1)
    tags = meta_tags(app, page, title, text or app.config.dgm_description, card)
    context["metatags"] = context.get("metatags", "") + tags
    if doctree is None:
        return
    body = context["body"]
    if page.startswith("notebooks/"):
        time = f'<p class="dgm-time">{minutes(doctree)} min to read</p>'
        body = body.replace("</h1>", f"</h1>\n{time}", 1)
    if "<!-- dgm-gallery -->" in body:
        body = body.replace("<!-- dgm-gallery -->", gallery(app, page))
    context["body"] = f"{body}\n{citation(app, page)}\n{next_card(app, page)}"


def sitemap(app: Sphinx) -> None:
    """Lists the pages for search engines, where the book's address is configured."""
    path = Path(app.outdir, "sitemap.xml")
    pages = sorted(app.env.found_docs)
    places = [absolute(app, app.builder.get_target_uri(page)) for page in pages]
    if not all(places):
        path.unlink(missing_ok=True)
        return
    lines = [f"  <url><loc>{escape(place)}</loc></url>" for place in places]
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<urlset xmlns="{space}">', *lines]
    path.write_text("\n".join([*lines, "</urlset>", ""]), "utf-8")


def offer_pdf(html: Path, intro: Path) -> None:
    """Offers the printed book on the introduction while its file is there, and not otherwise."""
    file, text = html / PDF, intro.read_text("utf-8")
    offer = ""
    if file.is_file():
        size = f"{file.stat().st_size / 1e6:.1f} MB"
        offer = f'<p class="dgm-pdf"><a href="../{PDF}" download>The book as a PDF</a> ({size}), '
        offer += "with a picture in the place of everything that moves.</p>"
    place = "<!-- dgm-pdf -->{}<!-- /dgm-pdf -->"
    changed = re.sub(place.format(".*?"), place.format(offer), text, flags=re.S)
    if changed != text:
        intro.write_text(changed, "utf-8")


def finish(app: Sphinx, error: Exception | None) -> None:
    """Writes what concerns all pages; drops a printed book that is older than a page of it."""
    if error or app.builder.format != "html":
        return
    sitemap(app)
    html = Path(app.outdir)
    pages = [html / app.builder.get_target_uri(page) for page in app.env.found_docs]
    intro = html / app.builder.get_target_uri(app.config.root_doc)
    printed = html / PDF
    if printed.is_file() and any(p.stat().st_mtime > printed.stat().st_mtime for p in pages):
        printed.unlink()
    offer_pdf(html, intro)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("dgm_chapters", [], "env")
    app.add_config_value("dgm_description", "", "html")
    app.add_directive("dgm-gallery", GalleryDirective)
    app.add_directive("dgm-pdf", PDFDirective)
    app.connect("config-inited", read_chapters)
    # Before book_pages, whose script has to come before all else.
    app.connect("html-page-context", dress_page, priority=890)
    app.connect("build-finished", finish, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
