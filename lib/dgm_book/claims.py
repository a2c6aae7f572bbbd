"""What a paper says, what was measured here, and the verdict, as a table."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

VERDICTS = ("holds", "does not hold", "not tested")


class Claim(NamedTuple):
    """One claim of one chapter; all fields are text."""

    chapter: str  # "01_rate_distortion"
    title: str  # of the chapter
    claim: str  # what the paper says, in our words
    source: str  # where it says so
    measured: str  # what was found, with its interval
    scale: str  # at which profile, on what
    verdict: str  # one of VERDICTS


def judge(holds: bool | None) -> str:
    """The verdict for a test's outcome; None where no test was run."""
    return "not tested" if holds is None else "holds" if holds else "does not hold"


def table(claims: Sequence[Claim], *, with_chapter: bool = False) -> str:
    """Claims as an HTML table; rows carry their verdict in data-verdict."""
    heads = ["Claim, and who makes it", "Measured here", "Scale", "Verdict"]
    rows = []
    for claim in claims:
        if claim.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {VERDICTS}, got {claim.verdict!r}")
        cells = [f"{claim.claim} ({claim.source})", claim.measured, claim.scale, claim.verdict]
        if with_chapter:
            cells = [claim.title, *cells]
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(f'<tr data-verdict="{escape(claim.verdict)}">{row}</tr>')
    if with_chapter:
        heads = ["Chapter", *heads]
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    return (
        f'<div class="dgm-claims"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
