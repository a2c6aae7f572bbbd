"""One function a kind of figure: arrays in, a figure with alternative text out.

Figures are SVG with the page's own text colour, so that they are legible in light and dark.
Colours have fixed meanings, and lines differ by dash or mark as well.
"""

import base64
import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
import matplotlib.figure
import matplotlib.style
import matplotlib.ticker
import numpy as np
from PIL import Image, ImageChops

STYLE = Path(__file__).with_name("dgm.mplstyle")
SVG = "{http://www.w3.org/2000/svg}"
PAGE = "#010203"  # becomes currentColor: truth, text
DATA, MODEL, BASELINE, WARNING = "#7f7f7f", "#0072B2", "#E69F00", "#D55E00"
# (colour, dash, mark) of the first, second, ... model in a figure
SERIES = [(MODEL, "-", "o"), (BASELINE, "--", "s"), ("#009E73", "-.", "^"), ("#CC79A7", ":", "D")]
THIN = [(0, (1, 1.5)), (0, (5, 1, 1, 1)), (0, (8, 2))]  # dashes of reference lines
BASELINE_FIRST = [SERIES[1], SERIES[0], *SERIES[2:]]
AXES = {"title": "title", "x": "xlabel", "y": "ylabel", "xlim": "xlim", "ylim": "ylim"}
SHORT = 100  # of a logarithmic axis: its last value over its first
Panels = Sequence[Mapping[str, Any]]
ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


class Figure:
    """A drawn figure with alternative text and a caption that states its finding."""

    def __init__(self, figure: matplotlib.figure.Figure, alt: str, caption: str) -> None:
        self.figure, self.alt, self.caption = figure, alt, caption

    def svg(self) -> str:
        """The figure as one SVG element that takes the colour of the text around it."""
        text = self._save().decode()
        text = text[text.index("<svg") :].replace(PAGE, "currentColor")
        # A hundredth of a point is enough, but a number that is read stays whole.
        text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), text)
        # the page's own font, as older and newer versions of matplotlib write it
        text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
        text = re.sub(r" font-family: [^;\"]*;", "", text)
        text = re.sub(r' d="[^"]*"', lambda path: re.sub(r" ?\n| (?=[A-Z])", "", path[0]), text)
        text = _lean(text)
        text = re.sub(r"(data:image/png;base64,)([^\"]+)", lambda m: m[1] + _smaller(m[2]), text)
        text = text.replace("<image ", '<image style="image-rendering: pixelated" ')
        label = f'<svg role="img" aria-label="{escape(self.alt)}" '
        return text.replace("<svg ", label, 1)

    def _save(self) -> bytes:
        stream = io.BytesIO()
        with matplotlib.style.context(STYLE):
            self.figure.savefig(stream, format="svg", dpi=150, metadata={"Date": None})
        return stream.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        caption = f"<figcaption>{escape(self.caption)}</figcaption>"
        html = f'<figure class="dgm-figure">{self.svg()}{caption}</figure>'
        return {"text/html": html, "text/plain": f"{self.caption} [{self.alt}]"}


def _lean(svg: str) -> str:
    """The same picture without what nobody refers to, and with the style of equal marks once."""
    root, used = ElementTree.fromstring(svg), set(re.findall(r"#([\w.-]+)", svg))
    for parent in reversed([*root.iter()]):
        parent.text = parent.text if (parent.text or "").strip() else None
        styles, children = {child.get("style", "opacity") for child in parent}, [*parent]
        marks = len(children) > 1 and {child.tag for child in children} == {SVG + "use"}
        if marks and len(styles) == 1 and "opacity" not in "".join(styles):
            parent.set("style", styles.pop())
            for child in children:
                child.attrib.pop("style", None)
        parent[:] = []
        for child in children:
            if child.get("id") not in used:
                child.attrib.pop("id", None)
            if child.get("transform", "").startswith("rotate(-0 "):
                del child.attrib["transform"]
            child.tail = None
            if child.tag != SVG + "metadata":
                parent.extend([child] if child.tag != SVG + "g" or child.attrib else [*child])
    short = re.compile(r' style="[^"]*"')
    lean = ElementTree.tostring(root, "unicode").replace(" />", "/>")
    return short.sub(lambda style: re.sub("([:;]) ", r"\1", style[0]), lean)


def _smaller(png: str) -> str:
    """The same pixels, base64, without an alpha that is full everywhere, grey in one channel."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    if image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
        red, green, blue = image.split()
        if not any(ImageChops.difference(red, other).getbbox() for other in (green, blue)):
            image = red
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


class Html:
    """A piece of page with a plain-text stand-in."""

    def __init__(self, html: str, plain: str) -> None:
        self.html, self.plain = html, plain

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.plain}


def glue(**values: str) -> None:
    """Gives the prose of a page named numbers, which {glue:text}`name` in Markdown takes."""
    from IPython.display import display

    prefix = "application/papermill.record/"
    for name, value in values.items():
        marked = {"scrapbook": {"name": name, "mime_prefix": prefix}}
        # Quoted, since the page evaluates what it is given: 0.30 would become 0.3.
        display({f"{prefix}text/plain": repr(value)}, raw=True, metadata=marked)


def badge(text: str) -> Html:
    """The line that says at which scale the numbers of a page were made."""
    current = "false" if "earlier code" in text else "true"
    return Html(f'<p class="dgm-badge" data-current="{current}">{escape(text)}</p>', text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> Html:
    """A small table below its caption, which opens it on a phone."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    html = (
        f'<details class="dgm-table" data-phone="closed" open><summary>{escape(caption)}</summary>'
        f'<table aria-label="{escape(caption)}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></details>"
    )
    return Html(html, "\n".join(" | ".join(row) for row in [head, *rows]))


class Rate(NamedTuple):
    """A row of `rates`: a share of n with its interval, perhaps as a second person marked it."""

    label: str
    share: float
    low: float
    high: float
    kind: str = "baseline"  # or "model", "truth"
    second: float | None = None


def rates(groups: Mapping[str, Sequence[Rate]], caption: str, badge: Html) -> Html:
    """Shares from 0 to 1 with their intervals, one above the other, in groups by name.

    The page draws it at any width, with words in its own size; the second mark is a stroke.
    """
    parts, plain = [], [caption, badge.plain]
    for name, group in groups.items():
        rows = []
        for rate in group:
            numbers = " and ".join(
                f"{100 * x:.0f}" for x in (rate.share, rate.second) if x is not None
            )
            interval = f"{100 * rate.low:.0f} to {100 * rate.high:.0f} %"
            rows.append(
                f'<li data-kind="{rate.kind}"><span>{escape(rate.label)}</span>'
                f'<svg role="img" aria-label="interval {interval}">{_bar(rate)}</svg>'
                f"<span>{numbers} %</span></li>"
            )
            plain.append(f"{name}, {rate.label}: {numbers} % ({interval})")
        parts.append(f"<p>{escape(name)}</p><ul>{''.join(rows)}</ul>")
    scale = "<p aria-hidden='true'><span>0</span><span>50</span><span>100 %</span></p>"
    end = f"<figcaption>{escape(caption)}</figcaption>{badge.html}"
    html = f'<figure class="dgm-figure dgm-rates">{"".join(parts)}{scale}{end}</figure>'
    return Html(html, "\n".join(plain))


def _bar(rate: Rate) -> str:
    """A row of `rates` from 0 to 100 % of its width, as parts of an SVG element."""
    line, at = '<line x1="{}%" x2="{}%" y1="{}%" y2="{}%"{}/>', f"{100 * rate.share:.1f}"
    marks = [line.format(x, x, 0, 100, ' class="dgm-grid"') for x in (0, 50, 100)]
    marks.append(line.format(*(f"{100 * x:.1f}" for x in (rate.low, rate.high)), 50, 50, ""))
    if rate.second is not None:
        marks.append(line.format(*[f"{100 * rate.second:.1f}"] * 2, 15, 85, ""))
    square = f'<rect x="{at}%" y="50%" width="8" height="8" transform="translate(-4 -4)"/>'
    marks.append(f'<circle cx="{at}%" cy="50%" r="4.5"/>' if rate.kind == "model" else square)
    return "".join(marks)


def folded(summary: str, *parts: Any) -> Html:
    """Figures, tables or other parts behind a line that opens them."""
    bundles = [part._repr_mimebundle_() for part in parts]
    html, plain = ("".join(b[f"text/{kind}"] for b in bundles) for kind in ("html", "plain"))
    top = f'<details class="dgm-folded"><summary>{escape(summary)}</summary>'
    return Html(f"{top}{html}</details>", f"{summary}\n{plain}")


def lines(rows: Sequence[Sequence[str]]) -> Html:
    """Rows of (before, text, after) as a list, which the page lets a reader search."""
    items = (
        f"<li>{escape(before)} <q>{escape(text)}</q> {escape(after)}</li>"
        for before, text, after in rows
    )
    return Html(f'<ol class="dgm-lines">{"".join(items)}</ol>', "\n".join(map(" ".join, rows)))


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draws in the book's style."""

    @functools.wraps(draw)
    def styled(*arguments: Any, **options: Any) -> Figure:
        with matplotlib.style.context(STYLE):
            return draw(*arguments, **options)

    return styled


def _axes(count: int, height: float, *, stacked: bool = False) -> tuple[Any, list[Any]]:
    """A figure of the page's width with panels side by side, or one above the other."""
    figure = matplotlib.figure.Figure(figsize=(8.2, height))
    rows, columns = (count, 1) if stacked else (1, count)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


@_styled
def curves(panels: Panels, caption: str, *, height: float = 3.0, baseline: bool = False) -> Figure:
    """Lines, a panel per question, with bands or bars where their values have errors.

    A line is values (R,), (x, y), (x, y, half the band's width, (R,) or (2, R)), or a list of (x,
    y), one per seed. A panel may have title, x, y, xlim, ylim, log ("xy"), levels (heights of
    lines), limit (height and name), reference (a label), bars ("points" or "joined"), marks as
    lines, and thin references (x, y). If the first is narrow, a phone shows legible words, and the
    legend stands above.
    """
    figure, row = _axes(len(panels), height)
    ends, before, narrow = [], None, panels[0].get("narrow", False)
    if narrow:
        figure.set_size_inches(4.5, 0.8 * height)
    for axes, panel in zip(row, panels, strict=True):
        for level in panel.get("levels", ()):
            axes.axhline(level, color=PAGE, linewidth=0.8)
        if limit := panel.get("limit"):
            axes.axhline(limit[0], color=WARNING, linestyle="--", linewidth=1.2)
            place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
            axes.annotate(limit[1], (1, limit[0]), **place)
        lines, styles = panel["lines"], BASELINE_FIRST if baseline else SERIES
        for (label, line), (colour, *style) in zip(lines.items(), styles, strict=False):
            style = (PAGE if label == panel.get("reference") else colour, *style)
            y = _draw_line(axes, line, style, panel.get("bars"), label=label)
            name = ", ".join(filter(None, (panel.get("title", panel.get("y")), label)))
            ends.append(f"{name}: {y[0]:.3g} to {y[-1]:.3g}")
        thin = panel.get("references", {})
        for (label, line), dash in zip(thin.items(), THIN, strict=False):
            axes.plot(*line, linestyle=dash, color=PAGE, linewidth=1, label=label)
        for (label, line), mark in zip(panel.get("marks", {}).items(), "v<>pXP*", strict=False):
            y = _draw_line(axes, line, (PAGE, "", mark), "points", label=label, markersize=7)
            ends.append(f"{label}: {y[0]:.3g}")
        axes.set(**{at: panel[key] for key, at in AXES.items() if key in panel})
        log = panel.get("log", "")
        axes.set(**{f"{axis}scale": "log" for axis in log})
        low, high = axes.get_xlim()
        if "x" in log and high < SHORT * low:
            axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
        if "x" in log:
            axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        if any(lines) and [*lines, *thin] != before and not narrow:
            aside = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
            axes.legend(**aside if "marks" in panel else {})
        before = [*lines, *thin]
    if narrow:
        figure.legend(*row[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    what, along = panels[0].get("y", "values"), panels[0].get("x", "places")
    return Figure(figure, f"{what} against {along}. {'; '.join(ends)}.", caption)


def _draw_line(axes: Any, line: Any, style: Sequence, bars: str | None, **look: Any) -> np.ndarray:
    """Draws a line of `curves`; returns its values (R,)."""
    colour, dash, mark = style
    look |= {"color": colour, "marker": mark}
    if isinstance(line, list) and isinstance(line[0], tuple):
        for at, values in line:
            axes.plot(at, values, dash, color=colour, linewidth=0.7, alpha=0.6)
        shortest = min(len(values) for _, values in line)
        x, *rows = (np.asarray(row)[:shortest] for row in (line[0][0], *(v for _, v in line)))
        axes.plot(x, y := np.mean(rows, 0), dash, linewidth=2, **look)
        return y
    parts = line if isinstance(line, tuple) else (range(1, len(line) + 1), line)
    x, y, *error = (np.asarray(part) for part in parts)
    if bars:
        axes.errorbar(x, y, *error, linestyle=dash if bars == "joined" else "none", **look)
        return y
    axes.plot(x, y, dash, markevery=max(1, len(x) // 8), **look)
    for e in error:
        axes.fill_between(x, y - e, y + e, color=colour, alpha=0.2, linewidth=0)
    return y


def through_training(
    panels: Panels, unit: str, caption: str, *, steps: str = "steps of the generator"
) -> Figure:
    """`curves` of a measurement, in a unit, against steps: each seed thin, their mean thick.

    Each line is a list of (steps (M,), values (M,)), one per seed, the baseline's first.
    """
    labels = [{"x": steps, "y": unit}, *[{"x": steps}] * (len(panels) - 1)]
    labelled = [{**panel, **label} for panel, label in zip(panels, labels, strict=True)]
    return curves(labelled, caption, height=3.1, baseline=True)


def spread(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """The mean of S seeds, and how far the lowest and the highest lie: (S, P) to (P,), (2, P)."""
    values = np.asarray(values, float)
    mean = values.mean(0)
    return mean, np.stack([mean - values.min(0), values.max(0) - mean])


@_styled
def histograms(panels: Panels, unit: str, caption: str) -> Figure:
    """Distributions in a unit of original codes and of manipulated ones, a panel per model.

    Each panel has a label and curves, a mapping from name to (N,) values; the original first.
    """
    figure, column = _axes(len(panels), 2.1 * len(panels), stacked=True)
    moments = []
    for axes, panel in zip(column, panels, strict=True):
        values = {name: np.asarray(v) for name, v in panel["curves"].items()}
        low, high = np.quantile(np.concatenate([*values.values()]), [0.002, 0.998])
        edges = np.linspace(low, high, 61)
        styles = [(DATA, "-", "o"), *SERIES]
        for (name, v), (colour, dash, _) in zip(values.items(), styles, strict=False):
            axes.hist(v, edges, histtype="step", color=colour, linestyle=dash, label=name)
            moments.append(f"{panel['label']}, {name}: {v.mean():.0f} ± {v.std():.0f}")
        axes.set_title(panel["label"])
        axes.set_yticks([])
        axes.legend()
    column[-1].set_xlabel(unit)
    return Figure(figure, f"Histograms in {unit}. {'; '.join(moments)}.", caption)


@_styled
def pairs(panels: Panels, caption: str) -> Figure:
    """Runs that share a seed, joined by a line, a panel per measurement.

    Each panel has a title and columns, a mapping from label to (S,) values of the same seeds.
    """
    figure, row = _axes(len(panels), 2.7)
    summaries = []
    for axes, panel in zip(row, panels, strict=True):
        labels = list(panel["columns"])
        places = range(len(labels))
        values = np.stack([np.asarray(v, float) for v in panel["columns"].values()])  # (L, S)
        axes.plot(places, values, "-", color=DATA, linewidth=0.8)
        for i, (colour, _, mark) in zip(places, BASELINE_FIRST, strict=False):
            axes.plot([i] * values.shape[1], values[i], mark, color=colour)
        axes.plot(places, values.mean(1), "_", color=PAGE, markersize=18)
        axes.set_xticks(places, labels)
        axes.set(xlim=(-0.4, len(labels) - 0.6), title=panel["title"])
        means = ", ".join(f"{n} {v:.3g}" for n, v in zip(labels, values.mean(1), strict=True))
        summaries.append(f"{panel['title']}: mean {means} (n = {values.shape[1]})")
    return Figure(figure, f"Paired runs. {'; '.join(summaries)}.", caption)


@_styled
def ladder(panels: Panels, caption: str) -> Figure:
    """Kinds of model one above the other: a mark per seed, a bar at their mean, a panel per metric.

    Each panel has a title and rows, a mapping from label to (S,) values, the baseline first.
    """
    labels = list(panels[0]["rows"])
    figure, row = _axes(len(panels), 0.9 + 0.27 * len(labels))
    summaries = []
    for axes, panel in zip(row, panels, strict=True):
        means = []
        for place, label in enumerate(labels):
            values = np.asarray(panel["rows"][label], float)
            colour, mark = (BASELINE, "s") if place == 0 else (MODEL, "o")
            axes.plot(values, [place] * len(values), mark, color=colour, markersize=4)
            axes.plot(values.mean(), place, "|", color=PAGE, markersize=13)
            means.append(f"{label} {values.mean():.3g}")
        base = np.mean(panel["rows"][labels[0]])
        axes.axvline(base, color=BASELINE, linestyle="--", linewidth=0.8)
        axes.set(ylim=(len(labels) - 0.5, -0.5), title=panel["title"])
        axes.set_yticks(range(len(labels)), labels if axes is row[0] else [])
        summaries.append(f"{panel['title']}: {', '.join(means)}")
    return Figure(figure, f"Kinds of model, means over seeds. {'; '.join(summaries)}.", caption)


@_styled
def plane(panels: Panels, extent: float, caption: str) -> Figure:
    """The plane from -extent to extent, a colour per activation pattern; data and samples above.

    Each panel has title, patterns (S, S), data (N, 2), samples (M, 2), and perhaps baseline.
    """
    figure, row = _axes(len(panels), 8.2 / len(panels) + 0.3)
    counts = []
    for axes, panel in zip(row, panels, strict=True):
        patterns = np.asarray(panel["patterns"])
        n = int(patterns.max()) + 1
        palette = np.random.RandomState(1).uniform(0.72, 1.0, (n, 3))
        box = (-extent, extent, -extent, extent)
        axes.imshow(palette[patterns.T], extent=box, origin="lower", interpolation="none")
        axes.plot(*np.asarray(panel["data"]).T, ".", color=DATA, markersize=2)
        colour, mark = (BASELINE, "^") if panel.get("baseline") else (MODEL, ".")
        axes.plot(*np.asarray(panel["samples"]).T, mark, color=colour, markersize=2)
        axes.set(title=panel["title"], xticks=[], yticks=[])
        counts.append(f"{panel['title']}: {n} pieces")
    return Figure(figure, f"The plane cut by sign patterns. {'; '.join(counts)}.", caption)


@_styled
def tiles(panels: Panels, columns: int, caption: str) -> Figure:
    """Generated images side by side, in columns, a panel per model.

    Each panel has a title and images (N, C, H, W) uint8, C 1 or 3.
    """
    count = len(np.asarray(panels[0]["images"]))
    figure, row = _axes(len(panels), 8.2 / len(panels) * (-(-count // columns) / columns) + 0.4)
    for axes, panel in zip(row, panels, strict=True):
        images = np.asarray(panel["images"])
        n, c, h, w = images.shape
        rows = n // columns
        grid = images[: rows * columns].reshape(rows, columns, c, h, w)
        sheet = grid.transpose(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c)
        sheet = sheet.squeeze(-1) if c == 1 else sheet
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="none")
        axes.set_title(panel["title"])
        axes.axis("off")
    names = ", ".join(panel["title"] for panel in panels)
    return Figure(figure, f"Generated images: {names}.", caption)
