"""Chapter 4's rewriters as two scorers of the project marked them, blind: what its page shows."""

import functools
import json
from pathlib import Path
from typing import Any

import pandas

from dgm import published
from dgm_book import figures, hand_score, results
from dgm_book.chapters.controllable_text_vae import rewriter_results
from dgm_book.chapters.controllable_text_vae.opposites import table

SENTIMENT, CAPTIONS = "fourth_rewriter_lines_1_to_50", "fresh_captions"
SITTINGS = SENTIMENT, CAPTIONS  # those that the page shows: their names stand here alone
MORE = "rewriter_lines_51_to_70"  # whose rewrites it lists as well
SCORERS = ("first", "second")
OURS, SHOWN = "rewriter, no abstention", "rewriter"
TYPED, LATER = ", typed", ", typed later"  # the latter written once the rewriter was trained
ENDS = "", TYPED, LATER
SYSTEMS = {
    "person": "a person",
    OURS: "this page's rewriter",
    "DualRL": "DualRL",
    "NAST": "NAST",
    "Style Transformer": "Style Transformer",
    "steering model": "the older simplex model",
    "Delete-Retrieve": "Delete-Retrieve",
}
RIVALS = ("Delete-Retrieve", "DualRL", "NAST", "Style Transformer")
STYLES = {"captions, romantic": "made romantic", "captions, humorous": "made humorous"}
KINDS = {"person": "truth", OURS: "model"} | dict.fromkeys(STYLES, "model")
FAULTS = {"grammatical": "not grammatical", "attribute": "not wholly turned", "kept": "not kept"}


@functools.cache
def marks(sitting: str, scorer: str) -> Any:
    """The pandas.DataFrame that `hand_score.marked` gives for a committed sitting."""
    return hand_score.marked(_folder(sitting), scorer)


def _folder(sitting: str) -> Path:
    return hand_score.corpus() / "hand_scores" / sitting


def forest() -> figures.Html:
    """Good rewrites of all systems with Wilson's intervals."""

    def rates(sitting: str, names: dict[str, str], end: str = "") -> list[figures.Rate]:
        rows = []
        for system, label in names.items():
            first, second = (m[m["system"] == system + end] for m in _scored(sitting))
            if len(first):
                rate, other = hand_score.rate(first), hand_score.rate(second)["good"]
                kind = KINDS.get(system, "baseline")
                share = rate["good"], rate["low"], rate["high"]
                rows.append(figures.Rate(label, *share, kind, other))
        return rows

    n = numbers()
    groups = {
        f"{n['yelp']['n']} test sentences of Yelp": rates(SENTIMENT, SYSTEMS),
        f"{n['typed']['n']} sentences as visitors type them": rates(SENTIMENT, SYSTEMS, TYPED),
        f"{n['later']['n']} more of them, by another hand": rates(SENTIMENT, SYSTEMS, LATER),
        f"{n['n_captions']} captions": rates(CAPTIONS, STYLES),
    }
    caption = (
        f"{100 * n['yelp']['good']:.0f} % of the page's rewrites are good, of a person's "
        f"{100 * n['person']['good']:.0f} %: the first scorer's share with its 95 % interval, then "
        "the second's, as a stroke. The rewriter must answer here; on the page it may decline."
    )
    return figures.rates(groups, caption, figures.badge(badge()))


def _scored(sitting: str) -> list[Any]:
    return [marks(sitting, scorer) for scorer in SCORERS]


def rewrites() -> figures.Html:
    """Each rewrite of the page's models beside its source, with the first scorer's marks."""
    every = pandas.concat([marks(s, SCORERS[0]) for s in (SENTIMENT, MORE, CAPTIONS)])
    declined = every["system"].isin([SHOWN + end for end in ENDS]) & every["item"].isna()
    declined = set(every.loc[declined, "source"])
    rows = []
    for row in every[every["system"].isin([*(OURS + end for end in ENDS), *STYLES])].itertuples():
        faults = [words for mark, words in FAULTS.items() if not getattr(row, mark)]
        text, after = str(row.text), ", ".join(faults) or "good"
        if pandas.isna(row.item):
            text, after = "", "no rewrite"
        after += "; declined on the page" * (row.source in declined)
        rows.append((f"{_place(str(row.source))} → {row.asked[8:]}:", text, f"({after})"))
    summary = f"All {len(rows)} rewrites beside their sources, with the first scorer's marks"
    return figures.folded(summary, figures.lines(rows))


def _place(source: str) -> str:
    """A sentence that a visitor may type as it is, one of Yelp by its place."""
    if not source.startswith("yelp test "):
        return source
    label, line = source.removeprefix("yelp test ").split(":")
    return f"Yelp, {('negative', 'positive')[int(label)]} test sentence {int(line) + 1}"


@functools.cache
def numbers() -> dict[str, Any]:
    """What the page's templates name: the first scorer's `hand_score.rate`, and examples."""
    sentiment = marks(SENTIMENT, SCORERS[0])
    typed = table("typed_sentences.tsv", hand_score.corpus())
    events = [row["sentence"] for row in typed if row["adjective"] == "0"]
    own, own_typed, later = (sentiment[sentiment["system"] == OURS + end] for end in ENDS)
    joined = own_typed["source"].str.contains(r"\b(?:and|but)\b")
    event = own_typed["source"].isin(events)
    half = own_typed[joined & (own_typed["attribute"] == 0)]
    failed = own_typed[event & (own_typed["kept"] == 0)]
    parts = {name: sentiment[sentiment["system"] == name] for name in ("person", SHOWN)}
    parts |= {side: own[own["asked"].str.endswith(side)] for side in ("negative", "positive")}
    parts |= {"yelp": own, "typed": own_typed, "later": later}
    for name, end in (("typed_shown", TYPED), ("later_shown", LATER)):
        parts[name] = sentiment[sentiment["system"] == SHOWN + end]
    parts |= {"joined": own_typed[joined], "events": own_typed[event], "others": own_typed[~event]}
    rivals = sentiment[sentiment["system"].isin(RIVALS)].groupby("system")["good"].mean()
    return {name: hand_score.rate(part) for name, part in parts.items()} | {
        "automatic": _automatic(),
        "best": rivals.max(),
        "n_captions": marks(CAPTIONS, SCORERS[0])["source"].nunique(),
        "n_half": len(half),
        "half": _example(half),
        "failed": _example(failed),
        "unlike": _example(later[later["good"] == 0]),
        "kappa": [hand_score.agreement(_folder(s), *SCORERS)["good"] for s in SITTINGS],
    }


def _example(rows: Any) -> str:
    """The last of the rewrites in words."""
    source, text = rows.iloc[-1][["source", "text"]] if len(rows) else ("nothing", "nothing")
    return f"“{source.rstrip('.')}” became “{text.rstrip(' .').replace(' ,', ',')}”"


def _automatic() -> dict[str, dict[str, Any]]:
    """The scores by machine of the published models, which decline nothing."""
    places = (folder / results.RECORDS for folder in published.folders(rewriter_results.FOLDER))
    records = json.loads(next(filter(Path.exists, places)).read_text("utf-8"))
    sentiment, captions = (records[f"{name}-seed0"]["values"] for name in ("sentiment", "captions"))
    return {"sentiment": sentiment["int8"]["yelp, no abstention"], **captions["scores"]}


def badge() -> str:
    """What the marks rest on."""
    n = numbers()
    sizes = (
        f"{n['yelp']['n']} test and {n['typed']['n'] + n['later']['n']} typed sentences",
        f"{n['n_captions']} captions",
    )
    parts = (f"{size} (kappa {k:.2f})" for size, k in zip(sizes, n["kappa"], strict=True))
    return f"2 scorers, blind · {' · '.join(parts)}"
