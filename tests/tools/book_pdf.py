"""Prints the built book as one PDF with Chromium: `make pdf`, after `make book`.

python tests/tools/book_pdf.py _build/html

All pages but the library's reference go into one document, with the widgets' posters in the place
of the widgets, and with links between the pages that work in one file.
"""

import functools
import importlib.util
import os
import shutil
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from playwright.sync_api import sync_playwright
from pypdf import PdfWriter
from pypdf.generic import NameObject, TextStringObject

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tests/tools"
FOOTER = """<div style="width: 100%; text-align: center; font-size: 8px">
<span class="pageNumber"></span></div>"""
SHELL = """<!doctype html><html lang="en" data-theme="light" data-mode="light">
<head><meta charset="utf-8"><title>Deep generative models</title></head><body></body></html>"""
# A PDF with the headings as its outline, and with the alternative texts of its pictures.
OPTIONS: dict[str, Any] = {"prefer_css_page_size": True, "print_background": True}
OPTIONS |= {"outline": True, "tagged": True, "display_header_footer": True}
OPTIONS |= {"header_template": "<span></span>", "footer_template": FOOTER}
# The system's Chromium, else Playwright's own.
PROGRAMS = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
CHROMIUM: dict[str, Any] = {"executable_path": next(filter(None, PROGRAMS), None)}
CHROMIUM |= {"args": ["--no-sandbox"]}


def site():
    """The extension that offers the file on the introduction; it is no package."""
    path = ROOT / "book/_ext/book_site.py"
    spec = importlib.util.spec_from_file_location("book_site", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed_pages() -> list[str]:
    """The pages that are printed, in their order, without the library's reference."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    chapters = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [toc["root"], *(page for page in chapters if not page.startswith("book/api"))]


class Quiet(SimpleHTTPRequestHandler):
    """Serves the built pages and says nothing."""

    def log_message(self, format, *args):
        """Nothing."""


def served(folder: Path) -> str:
    """The address from which a folder is served, as long as the process lives."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def title_page() -> str:
    """The book's name, and under what terms it may be passed on."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    logo = '<img src="/_static/favicon.svg" alt="">'
    return (
        f'<article class="pdf-title">{logo}<h1>{config["title"]}</h1><p>{config["author"]}, '
        f"{config['copyright']}</p><p>{config['html']['extra_footer']}</p></article>"
    )


def name_outline(path: Path, titles: list[str]) -> None:
    """Writes the headings into the outline, where Chromium joins what stands in two lines."""
    writer = PdfWriter(clone_from=path)
    items, stack = [], [writer.root_object["/Outlines"].get("/First")]
    while stack:
        if (item := stack.pop()) is not None:
            items.append(item.get_object())
            stack += [items[-1].get("/Next"), items[-1].get("/First")]
    for item, title in zip(items, titles, strict=True):
        item[NameObject("/Title")] = TextStringObject(title)
    writer.add_metadata({"/Title": titles[0]})
    writer.write(path)


def print_book(html: Path) -> Path:
    """Writes the book's pages into one PDF beside them, and offers it on the introduction."""
    pages = printed_pages()
    root = served(html)
    keys = {f"/{page}.html": page.rpartition("/")[2] for page in pages}
    own = site()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**CHROMIUM)
        page = browser.new_page(color_scheme="light", reduced_motion="reduce")
        answer = {"body": SHELL, "content_type": "text/html"}
        page.route(f"{root}/print", lambda route: route.fulfill(**answer))
        page.goto(f"{root}/print")
        page.add_script_tag(path=TOOLS / "book_pdf.js")
        chapter = next(p for p in pages if p.startswith("notebooks/"))
        scripts = page.evaluate("takeHead", f"/{chapter}.html")
        page.add_style_tag(path=TOOLS / "book_pdf.css")
        page.evaluate("html => document.body.innerHTML = html", title_page())
        for address, key in keys.items():
            page.evaluate("append", [address, key, keys])
        for script in scripts:
            page.evaluate("runScript", script)
        page.evaluate("ready")
        target = html / own.PDF
        page.pdf(path=target, **OPTIONS)
        titles = page.evaluate("headings()")
        browser.close()
    name_outline(target, titles)
    own.offer_pdf(html, html / f"{pages[0]}.html")
    os.utime(target)
    return target


if __name__ == "__main__":
    written = print_book(Path(sys.argv[1]).resolve())
    print(f"{written}: {written.stat().st_size / 1e6:.1f} MB")
