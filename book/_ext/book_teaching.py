r"""What lets a reader take part: guesses, a tour through a chapter's widgets, drawings that move.

    :::{guess} Which of the two is larger?
    - the first | No: it is divided by two.
    + the second | Yes: nothing is taken from it.
    :::

A line is an answer and, after " | ", what is then read; "+" marks the right one. A tour is a list
whose items start with a link that sets a widget, such as `[a low price](#explorer=beta:0.01)`.

    :::{drawing} one-run
    :symbols: \beta, e_
    What is seen, in at most 35 words.
    :::

shows book/drawings/one-run.svg, which at rest is the end of what its style moves while the figure
has the class dgm-moves. In all equations of the page $\beta$ and $e$ with its index get the classes
dgm-symbol-beta and dgm-symbol-e, which the drawing uses too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)
ANSWER = re.compile(r"([-+]) (.+?) \| (.+)")
DRAWINGS = Path(__file__).parents[1] / "drawings"
MOST_WORDS = 35  # of a drawing's caption


class details(nodes.General, nodes.Element):  # noqa: N801
    """What opens below its summary."""


class summary(nodes.TextElement):  # noqa: N801
    """The line that opens it."""


class drawing(nodes.General, nodes.Element):  # noqa: N801
    """A drawing, and its caption."""


class Teaching(SphinxDirective):
    """What the directives need."""

    has_content = True

    def inline(self, text: str) -> list[nodes.Node]:
        """A line of Markdown as the parts of a paragraph."""
        holder = nodes.Element()
        self.state.nested_parse(StringList([text], source=""), self.content_offset, holder)
        return [part for paragraph in holder.children for part in paragraph.children]


class GuessDirective(Teaching):
    """`{guess} question`."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """One of several answers is open at a time, which needs no script."""
        lines = re.sub(r"\n\s+", " ", "\n".join(self.content)).splitlines()
        answers = [ANSWER.fullmatch(line.strip()) for line in lines if line.strip()]
        if not all(answers) or [a[1] for a in answers if a].count("+") != 1 or len(answers) < 2:
            form = 'two or more lines "- answer | what is then read", the right one with "+"'
            logger.warning("guess: wants %s", form, location=self.get_location())
            return []
        name = f"guess-{self.env.new_serialno('guess')}"
        group = nodes.container(classes=["dgm-guess"])
        question = nodes.paragraph("", "", *self.inline(self.arguments[0]))
        question.insert(0, nodes.strong("", "Guess first. "))
        group += question
        for sign, answer, reason in (a.groups() for a in answers if a):
            kind = "dgm-right" if sign == "+" else "dgm-wrong"
            part = details(name=name, kind=kind)
            part += summary("", "", *self.inline(answer))
            part += nodes.paragraph("", "", *self.inline(reason))
            group += part
        return [group]


class TourDirective(Teaching):
    """`{tour}`."""

    def run(self) -> list[nodes.Node]:
        """A list that opens; book.js leads from stop to stop."""
        part = details(kind="dgm-tour")
        part += summary("", "A tour of this page in ten minutes")
        self.state.nested_parse(self.content, self.content_offset, part)
        items = list(part.findall(nodes.list_item))
        if not all(next(item.findall(nodes.reference), None) for item in items) or not items:
            logger.warning("tour: each item needs a link", location=self.get_location())
        return [part]


class DrawingDirective(Teaching):
    """`{drawing} name`."""

    required_arguments = 1
    option_spec: ClassVar = {"symbols": lambda text: text.split(", ")}

    def run(self) -> list[nodes.Node]:
        """The drawing as it stands in its file; a title, a description and a caption are asked."""
        path = DRAWINGS / f"{self.arguments[0]}.svg"
        self.env.note_dependency(str(path))
        svg = path.read_text("utf-8")
        words = len(" ".join(self.content).split())
        if not (re.search(r"<title.+<desc", svg, re.S) and 0 < words <= MOST_WORDS):
            form = f"a title, a description, and 1 to {MOST_WORDS} words of caption, not {words}"
            logger.warning("drawing: wants %s", form, location=self.get_location())
        parts = self.inline(" ".join(self.content))
        return [drawing("", *parts, svg=svg, symbols=self.options.get("symbols", []))]


def mark_symbols(app: Sphinx, doctree: nodes.document) -> None:
    """Gives the symbols of the page's drawings a class wherever they stand in an equation."""
    for tex in [tex for node in doctree.findall(drawing) for tex in node["symbols"]]:
        name = f"dgm-symbol-{re.findall('[A-Za-z]+', tex)[-1]}"
        index = r"(?:\{[^{}]*\}|\w)" if tex.endswith("_") else "(?![A-Za-z])"
        symbol = re.compile(rf"(?<![\\A-Za-z]){re.escape(tex)}{index}")
        for node in doctree.findall(lambda n: isinstance(n, nodes.math | nodes.math_block)):
            if node.astext() == tex:
                node["classes"].append(name)
            else:
                marked = symbol.sub(
                    lambda m, name=name: rf"{{\class{{{name}}}{{{m[0]}}}}}", node.astext()
                )
                node[:] = [nodes.Text(marked)]


def visit_drawing(translator: Any, node: nodes.Element) -> None:
    translator.body.append(translator.starttag(node, "figure", CLASS="dgm-drawing"))
    translator.body.append(f"{node['svg']}<figcaption>")


def depart_drawing(translator: Any, node: nodes.Element) -> None:
    translator.body.append("</figcaption></figure>\n")


def visit_details(translator: Any, node: nodes.Element) -> None:
    options = {"name": node["name"]} if "name" in node else {}
    translator.body.append(translator.starttag(node, "details", CLASS=node["kind"], **options))


def visit_summary(translator: Any, node: nodes.Element) -> None:
    translator.body.append(translator.starttag(node, "summary", ""))


def depart(translator: Any, node: nodes.Element) -> None:
    translator.body.append(f"</{type(node).__name__}>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(details, html=(visit_details, depart))
    app.add_node(summary, html=(visit_summary, depart))
    app.add_node(drawing, html=(visit_drawing, depart_drawing))
    app.add_directive("drawing", DrawingDirective)
    app.connect("doctree-read", mark_symbols)
    app.add_directive("guess", GuessDirective)
    app.add_directive("tour", TourDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
