"""What the book adds to its engine: two directives, pages that need no network.

`{dgm-widget} notebooks/NAME CLASS` puts a widget of an executed chapter on a prose page, and
`{dgm-claims}` the table of all chapters' claims.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from functools import partial
from hashlib import sha256
from html import escape
from importlib.util import find_spec
from pathlib import Path
from shutil import copy2, copytree
from typing import Any
from urllib.parse import quote

import nbformat
from docutils import nodes
from fontTools import subset
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
# Changes when a result or the library does; dgm_book.build writes it.
STAMP = "book/results.sha256"
MATHJAX = (
    "startup.js",
    "core.js",
    "input/tex.js",
    "input/tex/extensions",
    "output/chtml.js",
    "output/chtml/fonts",
    "a11y/assistive-mml.js",
)

# Where a browser forbids storage, reading it throws, and one throw stops all that the theme does.
STORAGE = """for (const name of ["localStorage", "sessionStorage"]) {
  try {
    window[name].getItem("");
  } catch {
    const items = new Map();
    const value = {
      getItem: (key) => items.get(String(key)) ?? null,
      setItem: (key, item) => void items.set(String(key), String(item)),
      removeItem: (key) => void items.delete(String(key)),
      clear: () => items.clear(),
      key: (i) => [...items.keys()][i] ?? null,
      get length() { return items.size; },
    };
    Object.defineProperty(window, name, { configurable: true, value });
  }
}"""
# The theme starts without a mode: an error in the console, a flash in the dark, no colours at all
# without JavaScript.
MODE = """(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const root = document.documentElement.dataset;
  root.mode = localStorage.getItem("mode") || "auto";
  root.theme = root.mode === "auto" ? (dark ? "dark" : "light") : root.mode;
})();"""


def widget_closure(state: dict[str, Any], model: str) -> dict[str, Any]:
    """The part of a notebook's widget state that a model refers to, itself included."""
    closure, pending = {}, [model]
    while pending:
        name = pending.pop()
        if name in state and name not in closure:
            closure[name] = state[name]
            pending += re.findall(r"IPY_MODEL_(\w+)", json.dumps(state[name]["state"]))
    return closure


def widget_html(notebook: nbformat.NotebookNode, name: str) -> str:
    """The state, the view and the poster of a notebook's first widget of a class.

    Raises:
        ValueError: the notebook shows no such widget.
    """
    everything = notebook.metadata.get("widgets", {}).get(STATE, {})
    state = everything.get("state", {})
    kinds = {key: model["state"].get("_anywidget_id", "") for key, model in state.items()}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            model = data.get(VIEW, {}).get("model_id")
            if kinds.get(model, "").rpartition(".")[2] != name:
                continue
            part = {**everything, "state": widget_closure(state, model)}
            html = script(STATE, part) + script(VIEW, data[VIEW])
            if "image/png" in data:
                alt = escape("".join(data.get("text/plain", name)).strip(), quote=True)
                png = "".join(data["image/png"]).replace("\n", "")
                html += f'<noscript><img src="data:image/png;base64,{png}" alt="{alt}"></noscript>'
            return f'<div class="dgm-widget">{html}</div>'
    raise ValueError(f"no widget {name!r} is shown; there are {sorted(set(kinds.values()) - {''})}")


def script(kind: str, data: Any) -> str:
    """A script element that holds data; `</` inside a string cannot end it."""
    return f'<script type="{kind}">{json.dumps(data).replace("</", "<" + chr(92) + "/")}</script>'


class WidgetDirective(SphinxDirective):
    """`{dgm-widget} notebooks/NAME CLASS`."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Reads the staged, executed notebook."""
        document, name = self.arguments
        path = Path(self.env.srcdir, document + ".ipynb")
        self.env.note_dependency(f"{document}.ipynb")
        self.env.metadata[self.env.docname]["dgm_script"] = "widgets.js"
        try:
            html = widget_html(nbformat.read(path, as_version=4), name)
        except (OSError, ValueError) as error:
            logger.warning("dgm-widget: %s: %s", document, error, location=self.get_location())
            return []
        return [nodes.raw(text=html, format="html")]


class ClaimsDirective(SphinxDirective):
    """`{dgm-claims}`."""

    def run(self) -> list[nodes.Node]:
        """Asks the library for every chapter's claims."""
        from dgm_book import chapters, claims

        self.env.note_dependency(STAMP)
        self.env.metadata[self.env.docname]["dgm_script"] = "claims.js"
        every = chapters.all_claims()
        html = claims.scores(every) + claims.table(every, with_chapter=True)
        html = html if every else "<p>No results yet.</p>"
        return [nodes.raw(text=html, format="html")]


class WidgetLinks(SphinxTransform):
    """Leaves links such as `[set beta to 50](#explorer=beta:50)` to the page: they set a widget."""

    default_priority = 870  # before MyST looks for a heading of that name

    def apply(self, **kwargs: Any) -> None:
        """Makes them links within the page that nobody resolves."""
        for link in self.document.findall(nodes.reference):
            if link.get("id_link") and "=" in link.get("refuri", ""):
                del link["id_link"]
                link["internal"] = True
                # MyST has undone what is quoted.
                link["refuri"] = quote(link["refuri"], safe="#&=:,;/")


def page_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Mends a page: adds the script that it asked for, drops those that it does not need.

    sphinx-thebe fails on every page; the first page would load MathJax for the others' equations.
    """
    context["default_mode"] = "light"
    # The metatags come before all scripts.
    context["metatags"] = f"<script>{STORAGE}</script>" + context.get("metatags", "")
    # A role that ARIA has withdrawn, in a list whose items must be list items.
    body = context.get("body", "")
    context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')
    if script := app.env.metadata.get(page, {}).get("dgm_script"):
        app.add_js_file(script, loading_method="defer")
    unwanted = ["thebe"]
    if not app.env.get_domain("math").data["has_equations"].get(page):
        unwanted.append("mathjax")
    context["script_files"] = [
        f for f in context["script_files"] if not any(word in script_text(f) for word in unwanted)
    ]
    context["css_files"] = [f for f in context["css_files"] if "thebe" not in str(f)]


# The theme loads the whole index on each page, for a search as one types that is off.
SEARCH = re.compile(r'<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>')


def script_text(file: Any) -> str:
    """A script's address together with its text, in lower case; of data the address alone.

    In a model's weights any word may come by chance.
    """
    attributes = getattr(file, "attributes", {})
    text = "" if attributes.get("type") == STATE else attributes.get("body", "")
    return f"{getattr(file, 'filename', file)} {text}".lower()


def finish(app: Sphinx, error: Exception | None) -> None:
    """Copies the parts of MathJax that a page loads, makes all pages lean, writes index.html."""
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    mathjax = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    for part in MATHJAX:
        target = static / "mathjax" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (mathjax / part).is_dir():
            copytree(mathjax / part, target, dirs_exist_ok=True)
        else:
            copy2(mathjax / part, target)
    # 1.5 MB on every page that draw the same icons as the style sheet's own fonts.
    (static / "scripts" / "fontawesome.js").write_text("", "utf-8")
    # Widgets make these, and no page holds them as text.
    words, beside = {"dgm-body", "dgm-head", "dgm-hint", "dgm-rd"}, set()
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text("utf-8")
        lean = STATES.sub(partial(packed_state, folder=page.parent), text)
        lean = lean.replace(*UNNAMED)
        if page.name != "search.html":
            lean = SEARCH.sub("", lean)
        if lean != text:
            page.write_text(lean, "utf-8")
        words |= set(WORD.findall(PACKED.sub("", lean)))
        beside |= {page.parent / name for name in BESIDE.findall(lean)}
    for script in {*Path(app.outdir).rglob("model-*.js")} - beside:
        script.unlink()
    for script in (*static.glob("*.js"), *static.glob("scripts/*.js")):
        words |= set(WORD.findall(script.read_text("utf-8")))
    lean_styles(static, words, Path(app.doctreedir, "styles"))
    # The header's button offers the same notebook as the page's end: without outputs.
    for notebook in Path(app.srcdir, "downloads").glob("*.ipynb"):
        copy2(notebook, Path(app.outdir, "_sources", "notebooks", notebook.name))
    root = app.config.root_doc
    Path(app.outdir, "index.html").write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<title>{escape(app.config.html_title)}</title><link rel="canonical" href="{root}.html">'
        f'<meta http-equiv="refresh" content="0; url={root}.html"></head>'
        f'<body><a href="{root}.html">{escape(app.config.html_title)}</a></body></html>\n',
        "utf-8",
    )


# What opens a part of the theme's list of pages has no name.
UNNAMED = ("<summary><span", '<summary aria-label="Pages of this part"><span')
# A page's widgets, as myst-nb writes them and as widgets.js reads them.
STATES = re.compile(rf'<script type="{re.escape(STATE)}">(.*?)</script>', re.S)
PACKED = re.compile(r'<script type="application/x-dgm-state".*?</script>', re.S)
MOST_BYTES = 1_000_000  # of a model in a page: a larger one comes when its widget is first used
BESIDE = re.compile(r'data-beside="([^"]+)"')


def packed_state(element: re.Match, folder: Path) -> str:
    """The script element of a page's widgets, compressed: JSON, then the bytes it points into.

    What is large is written into the page's folder, as a script that calls ``dgmModel``.
    """
    states = json.loads(element[1])
    data, beside = bytearray(), ""
    for model in states["state"].values():
        for buffer in model.get("buffers", []):
            piece = base64.b64decode(buffer.pop("data"))
            if len(piece) > MOST_BYTES:
                text = base64.b64encode(zlib.compress(piece, 9)).decode()
                name = f"model-{sha256(piece).hexdigest()[:12]}.js"
                (folder / name).write_text(f'dgmModel("{name}", "{text}");\n', "utf-8")
                buffer |= {"file": name, "size": len(text)}
                beside += f' data-beside="{name}"'
                continue
            buffer["at"] = [len(data), len(piece)]
            data += piece
    head = json.dumps(states, separators=(",", ":")).encode()
    text = base64.b64encode(zlib.compress(head + data, 9)).decode()
    return f'<script type="application/x-dgm-state" data-head="{len(head)}"{beside}>{text}</script>'


WORD = re.compile(r"[\w-]+")
# Comments, strings and what parts the rules of a style sheet.
PARTS = re.compile(r"/\*.*?\*/|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[{};]", re.S)
NAME = re.compile(r"[.#](-?[A-Za-z_](?:[\w-]|\\.)*)")
# The theme's scripts put these together from parts.
MADE = ("bs-", "pst-")
ICONS = "vendor/fontawesome/webfonts/fa-solid-900"
LEAN = "/* lean */"


def lean_styles(static: Path, words: set[str], originals: Path) -> None:
    """Leaves in the style sheets the rules, and in the icons' font the icons, that a page may use.

    A build that has nothing to do leaves an earlier one's lean files: the originals are stored.
    """
    originals.mkdir(parents=True, exist_ok=True)
    icons = set(map(chr, range(32, 127)))
    for path in (*static.glob("*.css"), *static.glob("styles/*.css")):
        original, css = originals / path.name, path.read_text("utf-8")
        if not css.endswith(LEAN):
            original.write_text(css, "utf-8")
        css = lean_css(original.read_text("utf-8"), words)
        css = re.sub(r"url\([^)]*solid-900\.woff2\) format\(\"woff2\"\),", "", css)
        path.write_text(css + LEAN, "utf-8")
        icons |= {chr(int(code, 16)) for code in re.findall(r"\\([ef][0-9a-f]{3})\b", css)}
        icons |= set(re.findall("[\ue000-\uf8ff]", css))
    (static / f"{ICONS}.woff2").unlink(missing_ok=True)
    font = static / f"{ICONS}.ttf"
    if font.stat().st_size > 100_000:
        copy2(font, originals / font.name)
    subset.log.setLevel("WARNING")
    options = subset.Options(layout_features=[])
    with subset.load_font(originals / font.name, options) as whole:
        subsetter = subset.Subsetter(options)
        subsetter.populate(text="".join(sorted(icons)))
        subsetter.subset(whole)
        whole.save(font)


def lean_css(css: str, words: set[str]) -> str:
    """A style sheet without its comments and the rules for classes and ids not in ``words``."""
    rules, start, depth, head, body = [], 0, 0, "", 0
    css = PARTS.sub(lambda part: "" if part[0].startswith("/*") else part[0], css)
    for part in PARTS.finditer(css):
        if part[0] == "{":
            if depth == 0:
                head, body = css[start : part.start()].strip(), part.end()
            depth += 1
        elif part[0] == "}":
            depth -= 1
            if depth == 0:
                rules.append(lean_rule(head, css[body : part.start()], words))
                start = part.end()
        elif part[0] == ";" and depth == 0:
            rules.append(css[start : part.end()])
            start = part.end()
    return "".join(rules)


def lean_rule(head: str, body: str, words: set[str]) -> str:
    """A rule with those of its selectors that may apply, or nothing."""
    if head.startswith(("@media", "@supports", "@container", "@layer")):
        body = lean_css(body, words)
    elif not head.startswith("@"):
        # Commas inside parentheses part no selectors.
        head = ",".join(x for x in re.split(r",(?![^(]*\))", head) if may_apply(x, words))
    return f"{head}{{{body}}}" if head and body.strip() else ""


def may_apply(selector: str, words: set[str]) -> bool:
    """Whether all of a selector's classes and ids are known; what stands in brackets counts not."""
    while selector != (selector := re.sub(r"\([^()]*\)|\[[^\]]*\]", "", selector)):
        pass
    names = [name.replace("\\", "") for name in NAME.findall(selector)]
    return all(name in words or name.startswith(MADE) for name in names)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_js_file(None, body=MODE, priority=100)
    app.add_directive("dgm-widget", WidgetDirective)
    app.add_directive("dgm-claims", ClaimsDirective)
    app.add_transform(WidgetLinks)
    app.connect("html-page-context", page_scripts, priority=900)
    app.connect("build-finished", finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
