"""A chapter's claims: what they say and ask for in a YAML file, what was measured in its code.

`chapters/<paper>/claims.yaml` holds the chapter's title; `head`, the ids of the two claims that its
head shows; `short`, by the heading of the section that shows what they rest on, short words for the
claims by their ids; and for each claim by its id the `FIELDS`:

- `claim`, `source`, `measured`: Jinja templates over the values of the claim's outcome. An
  `Interval` has the filters `difference(decimals, unit)`, `interval(decimals, sign)` and
  `mean(decimals)`; several by name have `differences(decimals, unit)` and `intervals(decimals)`.
- `who` makes it, one of `MAKERS`; its `kind`, one of `KINDS`; `rests_on`, what n counts.
- `asked`: for tests by the end of their names, or for "each", one of `SIDES` with the smallest
  effect that matters or the margin, its `unit`, and `why`; `from` is the value without an effect,
  where it is not 0.
- `baseline`: a `name`, "above" or "below" with what each arm must beat, one limit or one per arm,
  and its `unit`; or `none`: why there is none.
"""

import math
import operator
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from dgm.measure import Interval
from dgm_book import forest, statistics

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
    short: str  # the claim in a few words
    section: str  # of the chapter, which shows what it rests on
    in_head: bool = False  # whether the chapter's head shows it


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
    texts, sections = content["claims"], content["short"]
    short = {id_: (words, at) for at, part in sections.items() for id_, words in part.items()}
    for what, ids in {"outcome": outcomes.keys(), "short words": short.keys()}.items():
        if texts.keys() != ids:
            raise ValueError(
                f"{path.name}: ids without {what}: {sorted(texts.keys() - ids)}, "
                f"{what} without a claim: {sorted(ids - texts.keys())}"
            )
    claims = []
    for id_, text in texts.items():
        if text.keys() != FIELDS:
            raise ValueError(f"{path.name}: {id_} has {sorted(text)}, want {sorted(FIELDS)}")
        if outcome := outcomes[id_]:
            words = {field: render(text[field], outcome.values) for field in TEMPLATES}
            ends = {"title": content["title"], "scale": outcome.scale or scale}
            ends |= dict(zip(("short", "section"), short[id_], strict=True))
            ends["in_head"] = id_ in content.get("head", ())
            claims.append(Claim(id_, chapter, **(text | words | ends | judge(text, outcome))))
    return claims


def render(template: str, values: Mapping[str, Any]) -> str:
    """A Jinja template filled in, white space joined; UndefinedError for a value not given."""
    return " ".join(_TEMPLATES.from_string(template).render(values).split())


def fill(path: Path, values: Mapping[str, Any]) -> dict[str, str]:
    """The templates of a YAML file, filled in."""
    templates = yaml.safe_load(path.read_text("utf-8"))
    return {name: render(template, values) for name, template in templates.items()}


def rows(claim: Claim) -> list[tuple[str, forest.Row]]:
    """The intervals of a claim as a forest plot has them, each with what was asked of it."""
    least, result = 1 if claim.kind == "identity" else LEAST, []
    for key, ask in claim.asked.items():
        side = next(side for side in SIDES if side in ask)
        limit, origin = ask[side], ask.get("from", 0)
        for x in claim.tests[key]:
            drawn = forest.row(x, side, limit, verdict(x, side, limit, least), origin)
            result.append((key, drawn))
    return result


def anchor(heading: str) -> str:
    """The id that a page gives to a heading, as docutils makes it."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-").lstrip("-0123456789")


def number(value: float) -> str:
    """Three digits, and no exponent where a number is large."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


_HTML.filters |= {
    "detectable": statistics.detectable,
    "rows": rows,
    "anchor": anchor,
    "number": number,
    "weakest": lambda pairs, verdict: min(
        pairs, key=lambda pair: (pair[1].verdict != verdict, pair[1].slack)
    ),
    "plot": lambda pairs: forest.plot(forest.shown([row for _, row in pairs])),
}
_HTML.globals |= {"verdicts": VERDICTS, "makers": MAKERS, "sides": SIDES, "least": LEAST}
_HTML.globals |= {"infinity": math.inf, "most": forest.MOST, "mark": forest.mark}
_TICKS = {-3: "against", -1: "\u22121", 0: "0", 1: "1", 3: "as claimed"}


def table(claims: Sequence[Claim], *, with_chapter: bool = False) -> str:
    """A forest plot of claims as HTML, a row per claim, with what it rests on in its details.

    With chapters, each chapter's rows are folded, and links lead to the chapters' pages.
    """
    for claim in claims:
        if claim.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {VERDICTS}, got {claim.verdict!r}")
    example = forest.row(Interval(1.2, 0.1, 0.6, 1.8, 3), "above", 1, UNDECIDED)
    values = {"claims": claims, "with_chapter": with_chapter}
    values["example"] = forest.plot([example])
    values["ticks"] = [(f"{forest.place(at):.1f}", label) for at, label in _TICKS.items()]
    return _HTML.from_string(_PAGE["table"]).render(values)


def scores(claims: Sequence[Claim]) -> str:
    """How many claims have each verdict: in all, by chapter and by who makes them, as HTML."""
    return _HTML.from_string(_PAGE["scores"]).render(claims=claims)


def head(claims: Iterable[Claim]) -> dict[str, str]:
    """Three lines for a chapter's head: the paper's own claims by verdict, then the claims chosen.

    The names are those that `figures.glue` gives to the prose.
    """
    claims = list(claims)
    counts = Counter(claim.verdict for claim in claims if claim.who == "paper")
    lines = [render(_PAGE["head"], {"n": [counts[verdict] for verdict in VERDICTS]})]
    lines += [f"{claim.verdict.capitalize()}: {claim.short}" for claim in claims if claim.in_head]
    lines += ["Not tested: a claim whose data were not run"] * (3 - len(lines))
    return dict(zip(("head_counts", "head_first", "head_second"), lines, strict=True))
