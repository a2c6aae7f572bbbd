"""A chapter's claims: what they say and ask for in a YAML file, what was measured in its code.

`chapters/<paper>/claims.yaml` holds the chapter's title, and for each claim by its id the `FIELDS`:

- `claim`, `source`, `measured`: Jinja templates over the values of the claim's outcome. An
  `Interval` has the filters `difference(decimals, unit)`, `interval(decimals, sign)` and
  `mean(decimals)`; several by name have `differences(decimals, unit)` and `intervals(decimals)`.
- `who` makes it, one of `MAKERS`; its `kind`, one of `KINDS`; `rests_on`, what n counts.
- `asked`: for tests by the end of their names, or for "each", one of `SIDES` with the smallest
  effect that matters or the margin, its `unit`, and `why`.
- `baseline`: a `name`, "above" or "below" with what each arm must beat, one limit or one per arm,
  and its `unit`; or `none`: why there is none.
"""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from dgm.measure import Interval
from dgm_book import statistics

HOLDS, FAILS, UNDECIDED, NOT_TESTED = "holds", "does not hold", "undecided", "not tested"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_TESTED)
MAKERS = ("paper", "released code", "this book")
KINDS = ("difference", "non-inferiority", "bound", "identity", "not run")
SIDES = ("above", "below", "within", "beyond")  # the last two: of the effect's size
TEMPLATES = ("claim", "source", "measured")
FIELDS = {*TEMPLATES, "who", "kind", "asked", "baseline", "rests_on"}
LEAST = 3  # values: fewer make no interval that decides a general claim

_TEMPLATES, _HTML = (
    jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=x) for x in (False, True)
)
_TEMPLATES.filters |= {
    name: getattr(statistics, f"format_{name}")
    for name in ("difference", "differences", "interval", "intervals", "mean")
}
_HTML.filters["detectable"] = statistics.detectable
_PAGE = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))


class Outcome(NamedTuple):
    """What was measured for one claim."""

    tests: Mapping[str, Interval] = {}  # none: not run
    values: Mapping[str, Any] = {}  # what the claim's templates name
    scale: str = ""  # on what, if not on what the chapter says
    levels: Mapping[str, Mapping[str, float]] = {}  # test or "each" -> arm -> where it came


class Claim(NamedTuple):
    """One claim of one chapter."""

    id: str
    chapter: str  # "01_rate_distortion"
    title: str  # of the chapter
    claim: str  # what is claimed, in our words
    source: str  # where
    measured: str  # the numbers, with their intervals
    who: str
    kind: str
    asked: Mapping[str, Mapping[str, Any]]
    baseline: Mapping[str, Any]
    rests_on: str
    tests: Mapping[str, Sequence[Interval]]  # of what was asked: those whose arms beat the baseline
    levels: Mapping[str, tuple[float, float | None, bool]]  # arm -> where it came, limit, passed
    scale: str  # at which profile, on what
    verdict: str  # one of VERDICTS


def verdict(interval: Interval, side: str, at: float, least: int = LEAST) -> str:
    """Whether an effect is on a side of what was asked for, with its whole interval.

    "within" and "beyond" ask for its size. Of fewer values than `least`, or with a NaN: not tested.
    """
    low, high = interval.low, interval.high
    if interval.n < least or math.isnan(interval.mean + low + high):
        return NOT_TESTED
    if side in ("within", "beyond"):
        low, high = max(low, -high, 0.0), max(-low, high)
    met, missed = (low > at, high < at)[:: 1 if side in ("above", "beyond") else -1]
    return HOLDS if met else FAILS if missed else UNDECIDED


def combined(verdicts: Iterable[str]) -> str:
    """The verdict of a claim that asks for several things, but those that were not tested."""
    present = set(verdicts)
    return next((v for v in (FAILS, UNDECIDED, HOLDS) if v in present), NOT_TESTED)


def gate(
    baseline: Mapping[str, Any], levels: Mapping[str, float]
) -> dict[str, tuple[float, float | None, bool]]:
    """Where each arm came, its limit if one is named, and whether it beats that."""
    side = next((side for side in ("above", "below") if side in baseline), "")
    limits = baseline.get(side, {})
    limits = limits if isinstance(limits, dict) else dict.fromkeys(levels, limits)
    beats = operator.gt if side == "above" else operator.lt
    return {
        name: (level, limit := limits.get(name), limit is None or beats(level, limit))
        for name, level in levels.items()
    }


def judge(text: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """A claim's verdict, with the tests that passed the gate and where the arms came."""
    asked, verdicts = text["asked"], []
    tests, levels = {name: [] for name in asked}, {}
    for name, interval in outcome.tests.items():
        key = next((key for key in asked if name.endswith(key)), "each")
        part = gate(text["baseline"], outcome.levels.get(name, outcome.levels.get("each", {})))
        levels |= part
        if "name" in text["baseline"] and not part:
            raise ValueError(f"{name!r} has a baseline with a limit, and no level of an arm")
        if all(passed for *_, passed in part.values()):
            side = next(side for side in SIDES if side in asked[key])
            least = 1 if text["kind"] == "identity" else LEAST
            verdicts.append(verdict(interval, side, asked[key][side], least))
            tests[key].append(interval)
    return {"tests": tests, "levels": levels, "verdict": combined(verdicts)}


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
        if text.keys() != FIELDS:
            raise ValueError(f"{path.name}: {id_} has {sorted(text)}, want {sorted(FIELDS)}")
        if outcome := outcomes[id_]:
            words = {field: render(text[field], outcome.values) for field in TEMPLATES}
            ends = {"title": content["title"], "scale": outcome.scale or scale}
            claims.append(Claim(id_, chapter, **(text | words | ends | judge(text, outcome))))
    return claims


def render(template: str, values: Mapping[str, Any]) -> str:
    """A Jinja template filled in, white space joined; UndefinedError for a value not given."""
    return " ".join(_TEMPLATES.from_string(template).render(values).split())


def fill(path: Path, values: Mapping[str, Any]) -> dict[str, str]:
    """The templates of a YAML file, filled in."""
    templates = yaml.safe_load(path.read_text("utf-8"))
    return {name: render(template, values) for name, template in templates.items()}


def table(claims: Sequence[Claim], *, with_chapter: bool = False) -> str:
    """Claims as an HTML table; rows carry their id and their verdict."""
    for claim in claims:
        if claim.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {VERDICTS}, got {claim.verdict!r}")
    values = {"claims": claims, "with_chapter": with_chapter, "sides": SIDES, "least": LEAST}
    return _HTML.from_string(_PAGE["table"]).render(values)


def scores(claims: Sequence[Claim]) -> str:
    """How many claims have each verdict, by who makes them, as an HTML table."""
    values = {"claims": claims, "makers": MAKERS, "verdicts": VERDICTS}
    return _HTML.from_string(_PAGE["scores"]).render(values)
