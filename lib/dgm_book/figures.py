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
from typing import Any

import matplotlib
import matplotlib.figure
import matplotlib.style
import matplotlib.ticker
import numpy as np
from PIL import Image, ImageChops

STYLE = Path(__file__).with_name("dgm.mplstyle")
PAGE = "#010203"  # becomes currentColor: truth, text
DATA, MODEL, BASELINE, WARNING = "#7f7f7f", "#0072B2", "#E69F00", "#D55E00"
# (colour, dash, mark) of the first, second, ... model in a figure
SERIES = [(MODEL, "-", "o"), (BASELINE, "--", "s"), ("#009E73", "-.", "^"), ("#CC79A7", ":", "D")]
BASELINE_FIRST = [SERIES[1], SERIES[0], *SERIES[2:]]
Panels = Sequence[Mapping[str, Any]]


class Figure:
    """A drawn figure with alternative text and a caption that states its finding."""

    def __init__(self, figure: matplotlib.figure.Figure, alt: str, caption: str) -> None:
        self.figure, self.alt, self.caption = figure, alt, caption

    def svg(self) -> str:
        """The figure as one SVG element that takes the colour of the text around it."""
        text = self._save("svg").decode()
        text = text[text.index("<svg") :].replace(PAGE, "currentColor")
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        # A hundredth of a point is enough, but a number that is read stays whole.
        text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), text)
        # the page's own font, as older and newer versions of matplotlib write it
        text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
        text = re.sub(r" font-family: [^;\"]*;", "", text)
        text = re.sub(r' d="[^"]*"', lambda path: re.sub(r" ?\n| (?=[A-Z])", "", path[0]), text)
        text = re.sub(r"\n +", "\n", text)
        text = re.sub(r"(data:image/png;base64,)([^\"]+)", lambda m: m[1] + _smaller(m[2]), text)
        text = text.replace("<image ", '<image style="image-rendering: pixelated" ')
        label = f'<svg role="img" aria-label="{escape(self.alt)}" '
        return text.replace("<svg ", label, 1)

    def _save(self, kind: str) -> bytes:
        stream = io.BytesIO()
        with matplotlib.style.context(STYLE):
            self.figure.savefig(
                stream, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None
            )
        return stream.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        caption = f"<figcaption>{escape(self.caption)}</figcaption>"
        html = f'<figure class="dgm-figure">{self.svg()}{caption}</figure>'
        return {"text/html": html, "text/plain": f"{self.caption} [{self.alt}]"}


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
    """A small table with a caption above it."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    html = (
        f'<div class="dgm-table"><table><caption>{escape(caption)}</caption><thead><tr>{top}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )
    return Html(html, "\n".join(" | ".join(row) for row in [head, *rows]))


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


def _beta_axis(axes: Any) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.set_xlabel("inverse temperature beta")


@_styled
def rate_distortion_panels(panels: Panels, caption: str) -> Figure:
    """Rate against distortion on a logarithmic axis, a panel per question, bands of two errors.

    Args:
        panels: each with title, unit (of the distortion) and curves, each of those with label,
            distortion, rate and rate_error, all but label (R,).
        caption: the finding.
    """
    figure, row = _axes(len(panels), 3.4)
    ends = []
    for axes, panel in zip(row, panels, strict=True):
        for curve, (colour, dash, mark) in zip(panel["curves"], SERIES, strict=False):
            d, r, e = (np.asarray(curve[k]) for k in ("distortion", "rate", "rate_error"))
            every = max(1, len(d) // 8)
            axes.plot(d, r, dash, color=colour, marker=mark, markevery=every, label=curve["label"])
            axes.fill_between(d, r - 2 * e, r + 2 * e, color=colour, alpha=0.2, linewidth=0)
            ends.append(f"{curve['label']} down to D = {d[-1]:.3g} at {r[-1]:.3g} nats")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.set(title=panel["title"], xlabel=f"distortion D ({panel['unit']})")
        axes.legend()
    row[0].set_ylabel("rate R (nats an image)")
    return Figure(figure, f"Rate-distortion curves. {'; '.join(ends)}.", caption)


@_styled
def against_beta(panels: Panels, caption: str) -> Figure:
    """Quantities along the inverse temperature, a panel each.

    Args:
        panels: each with title, y (label of the axis), lines, a mapping from label to (beta,
            values) of the same length, and optionally levels, drawn as lines, and log, for a
            logarithmic axis.
        caption: the finding.
    """
    figure, row = _axes(len(panels), 3.0)
    ends = []
    for axes, panel in zip(row, panels, strict=True):
        for level in panel.get("levels", ()):
            axes.axhline(level, color=PAGE, linewidth=0.8)
        lines = zip(panel["lines"].items(), SERIES, strict=False)
        for (label, (beta, values)), (colour, dash, mark) in lines:
            x, y = np.asarray(beta), np.asarray(values)
            every = max(1, len(x) // 8)
            axes.plot(x, y, dash, color=colour, marker=mark, markevery=every, label=label)
            ends.append(f"{panel['title']}, {label}: {y[0]:.3g} to {y[-1]:.3g}")
        _beta_axis(axes)
        if panel.get("log"):
            axes.set_yscale("log")
        axes.set(title=panel["title"], ylabel=panel["y"])
        axes.legend()
    return Figure(figure, f"Along the inverse temperature. {'; '.join(ends)}.", caption)


@_styled
def deviations(
    beta: Any, differences: Mapping[str, tuple[Any, Any]], unit: str, caption: str
) -> Figure:
    """Estimate minus truth against beta, a panel per quantity, with bars of two standard errors.

    Args:
        beta: (R,).
        differences: for each quantity (mean difference (R,), standard error (R,)).
        unit: of the differences.
        caption: the finding.
    """
    figure, row = _axes(len(differences), 2.9)
    largest = []
    for axes, (name, (mean, error)) in zip(row, differences.items(), strict=True):
        axes.axhline(0, color=PAGE, linewidth=1)
        mean, error = np.asarray(mean), 2 * np.asarray(error)
        axes.errorbar(np.asarray(beta), mean, error, fmt="o", color=MODEL)
        _beta_axis(axes)
        axes.set_title(name)
        largest.append(f"{name} at most {float(np.abs(mean).max()):.2g}")
    row[0].set_ylabel(f"estimate minus truth ({unit})")
    alt = f"Mean differences from the exact values: {', '.join(largest)}."
    return Figure(figure, alt, caption)


@_styled
def gaps(models: Panels, limit: float, caption: str) -> Figure:
    """The gap of lower and upper bounds of log Z against beta, with bars of two standard errors.

    Args:
        models: each with label, beta, gap and standard_error (all but label (B,)).
        limit: drawn as a line.
        caption: the finding.
    """
    figure = matplotlib.figure.Figure(figsize=(5.4, 3.0))
    axes = figure.subplots()
    axes.axhline(0, color=PAGE, linewidth=1)
    axes.axhline(limit, color=WARNING, linestyle="--", linewidth=1.2)
    place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
    axes.annotate(f"{limit:g} nat", (1, limit), **place)
    values = []
    for i, (model, (colour, _, mark)) in enumerate(zip(models, SERIES, strict=False)):
        beta, gap, error = (np.asarray(model[k]) for k in ("beta", "gap", "standard_error"))
        shifted = beta * 1.12**i
        axes.errorbar(shifted, gap, 2 * error, fmt=mark, color=colour, label=model["label"])
        each = (f"{g:.2f} at beta {b:g}" for b, g in zip(beta, gap, strict=True))
        values.append(f"{model['label']}: {', '.join(each)}")
    _beta_axis(axes)
    axes.set_ylabel("upper minus lower bound (nats)")
    axes.legend()
    return Figure(figure, f"BDMC gaps. {'; '.join(values)}.", caption)


@_styled
def sampler_health(curves: Panels, n_chains: int, caption: str) -> Figure:
    """Acceptance and effective sample size along the annealing.

    Args:
        curves: each with label, beta, acceptance and ess (all but label (R,)).
        n_chains: chains per image, the most that the effective sample size can be.
        caption: the finding.
    """
    figure, (left, right) = _axes(2, 2.9)
    lowest = []
    for curve, (colour, dash, mark) in zip(curves, SERIES, strict=False):
        style = {"color": colour, "marker": mark, "markevery": 6, "linestyle": dash}
        left.plot(curve["beta"], curve["acceptance"], label=curve["label"], **style)
        right.plot(curve["beta"], curve["ess"], **style)
        lowest.append(
            f"{curve['label']}: acceptance down to {float(min(curve['acceptance'])):.2f}, "
            f"effective chains down to {float(min(curve['ess'])):.1f}"
        )
    left.axhline(0.65, color=PAGE, linewidth=1)
    left.set(ylim=(0, 1.03), ylabel="acceptance")
    left.legend()
    right.set(ylim=(0, 1.05 * n_chains), ylabel=f"effective chains of {n_chains}")
    for axes in (left, right):
        _beta_axis(axes)
    return Figure(figure, f"Sampler diagnostics against beta. {'; '.join(lowest)}.", caption)


@_styled
def frontier(lines: Panels, points: Panels, caption: str) -> Figure:
    """Accuracy of a change against how much of the source is preserved, with bars over seeds.

    Args:
        lines: each with label, kept (S, P) and accuracy (S, P) of S seeds at P settings.
        points: each with label, kept (S,) and accuracy (S,).
        caption: the finding.
    """
    figure, (axes,) = _axes(1, 3.9)
    styles = [{"linestyle": dash, "marker": mark, "color": c} for c, dash, mark in SERIES]
    marks = [{"fmt": mark, "color": PAGE, "markersize": 7} for mark in "v<>pXP*"]
    means = []
    for drawn, looks in ((lines, styles), (points, marks)):
        for model, style in zip(drawn, looks, strict=False):
            bleu, accuracy = (
                np.asarray(model[k], float).reshape(len(model[k]), -1) for k in ("kept", "accuracy")
            )
            axes.errorbar(
                bleu.mean(0),
                accuracy.mean(0),
                _distance_to_extremes(accuracy),
                _distance_to_extremes(bleu),
                label=model["label"],
                **style,
            )
            means.append(f"{model['label']}: {accuracy.mean():.0f} % at {bleu.mean():.0f}")
    axes.set(xlim=(-3, 103), ylim=(-3, 103), ylabel="accuracy of the change (%)")
    axes.set_xlabel("BLEU against the source: what is kept")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return Figure(figure, f"Accuracy against content. On average {'; '.join(means)}.", caption)


def _distance_to_extremes(values: np.ndarray) -> np.ndarray:
    """How far the lowest and the highest of S seeds lie from their mean: (S, P) to (2, P)."""
    mean = values.mean(0)
    return np.stack([mean - values.min(0), values.max(0) - mean])


@_styled
def histograms(panels: Panels, unit: str, caption: str) -> Figure:
    """Distributions of original codes and of manipulated ones, a panel per model.

    Args:
        panels: each with label and curves, a mapping from name to (N,) values; the original first.
        unit: of the values.
        caption: the finding.
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
def components(graphs: Mapping[str, Mapping[int, Any]], caption: str) -> Figure:
    """Connected components, and nodes, of Mapper graphs against the resolution.

    Args:
        graphs: for each model, for each resolution, (S, 2) components and nodes of S seeds.
        caption: the finding.
    """
    figure, row = _axes(2, 2.9)
    counts = []
    for (name, by_resolution), (colour, dash, mark) in zip(graphs.items(), SERIES, strict=False):
        values = np.stack([np.asarray(v) for v in by_resolution.values()])  # (R, S, 2)
        style = {"linestyle": dash, "marker": mark, "color": colour, "label": name}
        for axes, v in zip(row, np.moveaxis(values, 2, 0), strict=True):
            axes.errorbar(list(by_resolution), v.mean(1), _distance_to_extremes(v.T), **style)
        each = (
            f"{v.mean(0)[0]:.1f} components of {v.mean(0)[1]:.1f} nodes at {resolution}"
            for resolution, v in zip(by_resolution, values, strict=True)
        )
        counts.append(f"{name}: {', '.join(each)}")
    for axes, title in zip(row, ("connected components", "nodes"), strict=True):
        axes.set(title=title, xlabel="resolution (intervals of the lens)")
    row[0].legend()
    return Figure(figure, f"Mapper graphs. {'; '.join(counts)}.", caption)


@_styled
def through_training(
    panels: Panels, unit: str, caption: str, *, steps: str = "steps of the generator"
) -> Figure:
    """A measurement against training steps: each seed thin, their mean thick, a panel per setting.

    Args:
        panels: each with title and lines, a mapping from label (the baseline first) to a list of
            (steps (M,), values (M,)), one per seed, and optionally reference, the label of the
            data's own line. A seed that stopped early has fewer; the mean goes as far as all.
        unit: of the values.
        caption: the finding.
        steps: what they are steps of.
    """
    figure, row = _axes(len(panels), 3.1)
    ends = []
    for axes, panel in zip(row, panels, strict=True):
        lines = zip(panel["lines"].items(), BASELINE_FIRST, strict=False)
        for (label, runs), (colour, dash, mark) in lines:
            colour = PAGE if label == panel.get("reference") else colour
            for at, values in runs:
                axes.plot(at, values, dash, color=colour, linewidth=0.7, alpha=0.6)
            shortest = min(len(values) for _, values in runs)
            mean = np.mean([np.asarray(v)[:shortest] for _, v in runs], 0)
            at = np.asarray(runs[0][0])[:shortest]
            axes.plot(at, mean, dash, color=colour, marker=mark, linewidth=2, label=label)
            ends.append(f"{panel['title']}, {label}: {mean[0]:.3g} to {mean[-1]:.3g}")
        axes.set(title=panel["title"], xlabel=steps)
    row[0].set_ylabel(unit)
    row[0].legend()
    return Figure(figure, f"{unit} against {steps}. {'; '.join(ends)}.", caption)


@_styled
def pairs(panels: Panels, caption: str) -> Figure:
    """Runs that share a seed, joined by a line, a panel per measurement.

    Args:
        panels: each with title and columns, a mapping from label to (S,) values of the same seeds.
        caption: the finding.
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

    Args:
        panels: each with title and rows, a mapping from label to (S,) values; the same labels in
            each. The first label is the baseline.
        caption: the finding.
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
def by_place(panels: Panels, caption: str) -> Figure:
    """Values along a sentence, a line each, a panel per question.

    Args:
        panels: each with title, x and y (labels of the axes), lines, a mapping from label to (T,)
            values, and optionally log, for a logarithmic axis of values. Places count from 1.
        caption: the finding.
    """
    figure, row = _axes(len(panels), 3.0)
    ends = []
    for axes, panel in zip(row, panels, strict=True):
        lines = zip(panel["lines"].items(), BASELINE_FIRST, strict=False)
        for (label, values), (colour, dash, mark) in lines:
            values = np.asarray(values, float)
            places = range(1, len(values) + 1)
            axes.plot(places, values, dash, color=colour, marker=mark, label=label)
            ends.append(f"{panel['title']}, {label}: {values[0]:.3g} to {values[-1]:.3g}")
        if panel.get("log"):
            axes.set_yscale("log")
        axes.set(title=panel["title"], xlabel=panel["x"], ylabel=panel["y"])
    row[0].legend()
    return Figure(figure, f"Along the sentence. {'; '.join(ends)}.", caption)


@_styled
def plane(panels: Panels, extent: float, caption: str) -> Figure:
    """The plane cut by networks: a colour per activation pattern, with data and samples above.

    Args:
        panels: each with title, patterns (S, S) whole numbers (rows are the first coordinate), data
            (N, 2), samples (M, 2), and baseline, true for a baseline's samples.
        extent: the plane runs from -extent to extent.
        caption: the finding.
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
    """Generated images side by side, a panel per model.

    Args:
        panels: each with title and images (N, C, H, W) uint8, C 1 or 3.
        columns: of images in a panel.
        caption: the finding.
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
