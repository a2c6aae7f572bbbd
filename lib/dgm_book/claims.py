"""A chapter's claims: their words in a YAML file, the rules that judge them in the chapter's code.

`chapters/<paper>/claims.yaml` holds the chapter's title, and for each claim by its id `claim`,
`source` and `measured`: Jinja templates over the values of the claim's outcome. An `Interval` has
the filters `difference(decimals, unit)`, `interval(decimals, sign)` and `mean(decimals)`; several
by name have `differences(decimals, unit)` and `intervals(decimals)`.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from dgm.measure import Interval
from dgm_book import statistics

VERDICTS = ("holds", "does not hold", "not tested")
FIELDS = ("claim", "source", "measured")

_TEMPLATES = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
_TEMPLATES.filters |= {
    name: getattr(statistics, f"format_{name}")
    for name in ("difference", "differences", "interval", "intervals", "mean")
}


class Outcome(NamedTuple):
    """What a rule finds about one claim."""

    holds: bool | None  # None: not tested
    values: Mapping[str, Any] = {}  # what the claim's templates name
    scale: str = ""  # on what, if not on what the chapter says


def above_zero(gains: Mapping[str, Interval], scale: str = "", **values: Any) -> Outcome:
    """Holds where each gain is above 0 beyond its interval; their templates name `gains`."""
    holds = statistics.all_hold(map(statistics.is_above_zero, gains.values()))
    return Outcome(holds, {"gains": gains, **values}, scale)


class Claim(NamedTuple):
    """One claim of one chapter; all fields are text."""

    id: str
    chapter: str  # "01_rate_distortion"
    title: str  # of the chapter
    claim: str  # what the paper says, in our words
    source: str  # where it says so
    measured: str  # the numbers, with their intervals
    scale: str  # at which profile, on what
    verdict: str  # one of VERDICTS


def judged(
    path: Path, chapter: str, outcomes: Mapping[str, Outcome | None], scale: str = ""
) -> list[Claim]:
    """The claims of a chapter, such as "01_rate_distortion", in the order of its YAML file.

    None leaves out a claim on whose data nothing was run. ValueError where an id has no outcome or
    no words, or a claim lacks a field.
    """
    content = yaml.safe_load(path.read_text("utf-8"))
    texts = content["claims"]
    if texts.keys() != outcomes.keys():
        raise ValueError(
            f"{path.name}: ids without an outcome: {sorted(texts.keys() - outcomes.keys())}, "
            f"outcomes without words: {sorted(outcomes.keys() - texts.keys())}"
        )
    claims = []
    for id_, text in texts.items():
        if text.keys() != set(FIELDS):
            raise ValueError(f"{path.name}: {id_} has {sorted(text)}, want {sorted(FIELDS)}")
        if outcome := outcomes[id_]:
            words = [render(text[field], outcome.values) for field in FIELDS]
            ends = outcome.scale or scale, verdict(outcome.holds)
            claims.append(Claim._make([id_, chapter, content["title"], *words, *ends]))
    return claims


def render(template: str, values: Mapping[str, Any]) -> str:
    """A Jinja template filled in, white space joined; UndefinedError for a value not given."""
    return " ".join(_TEMPLATES.from_string(template).render(values).split())


def fill(path: Path, values: Mapping[str, Any]) -> dict[str, str]:
    """The templates of a YAML file, filled in."""
    templates = yaml.safe_load(path.read_text("utf-8"))
    return {name: render(template, values) for name, template in templates.items()}


def verdict(holds: bool | None) -> str:
    """The verdict for a test's outcome; None where no test was run."""
    return "not tested" if holds is None else "holds" if holds else "does not hold"


def table(claims: Sequence[Claim], *, with_chapter: bool = False) -> str:
    """Claims as an HTML table; rows carry their id and their verdict."""
    heads = ["Claim, and who makes it", "Measured here", "Scale", "Verdict"]
    rows = []
    for claim in claims:
        if claim.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {VERDICTS}, got {claim.verdict!r}")
        cells = [f"{claim.claim} ({claim.source})", claim.measured, claim.scale, claim.verdict]
        if with_chapter:
            cells = [claim.title, *cells]
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        marks = f'data-claim="{escape(claim.id)}" data-verdict="{escape(claim.verdict)}"'
        rows.append(f"<tr {marks}>{row}</tr>")
    if with_chapter:
        heads = ["Chapter", *heads]
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    return (
        f'<div class="dgm-claims"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
