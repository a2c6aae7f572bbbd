"""Sentences turned into their opposite by rule: what a rewriter reads, beside what a person wrote.

The turned sentence is seldom perfect, so it is never a target: a model that is trained to write the
person's sentence from it learns fluent rewriting in both directions.
"""

import csv
import functools
import random
import re
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[4] / "book" / "corpus"
BE = r"is|was|are|were|am|'s|'re|'m|be|been"
DO = r"do|does|did|would|could|can|will|ca|wo|should"
FILLED = r"very|really|so|quite|too|extremely|absolutely|that|all|even|particularly|super|pretty"
_NEGATED_BE = re.compile(rf"\b({BE}) (?:n't|not)( (?:{FILLED}))?\b")
_NEGATED_DO = re.compile(rf"\b({DO}) (?:n't|not) (?:even |really )?")
_PLAIN_BE = re.compile(rf"\b({BE})(?: (?:{FILLED}))? (?!n't|not|no)(?=(?:a |an |the )?\w)")
# What the frames are filled with: negative and positive; the first take "more", as others do not.
_LONG = (
    "useless/helpful unprofessional/professional uncomfortable/comfortable unpleasant/pleasant "
    "boring/enjoyable unfriendly/friendly disappointing/impressive ugly/beautiful rude/polite "
    "careless/careful unreliable/reliable dull/interesting frustrating/satisfying dangerous/safe"
)
_SHORT = "bad/good terrible/great dirty/clean slow/fast unfair/fair bland/tasty poor/nice"
_NOUNS = (
    "soup room staff film phone driver lesson coffee app meal service hotel book doctor train "
    "garden view bread pizza teacher course game music bar shop manager waitress salad show museum "
    "dentist haircut flight breakfast beer place repair laptop burger trip"
)
_POSITIVE_DO = {"ca": "can ", "wo": "will ", "do": "", "did": "", "does": ""}


@functools.cache
def tables() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """For each target, 0 negative and 1 positive, the words to replace and their opposites."""
    groups = [[field.split() for field in row.values()] for row in table("opposites.tsv")]
    result: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for group in groups:
        for target in (0, 1):
            for word in group[1 - target]:
                result[target].setdefault(word, []).extend(group[target])
    return result


@functools.cache
def table(name: str, folder: Path = FOLDER) -> list[dict[str, str]]:
    """The rows of a file of the corpus, by the names of its columns."""
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def negation_pair(random: random.Random) -> tuple[str, str]:
    """A negative and a positive sentence that differ by a negator or what it negates."""
    frames = random.choice(table("negation_frames.tsv")).values()
    adjectives = _LONG if "more {" in "".join(frames) else f"{_LONG} {_SHORT}"
    bad, good = random.choice(adjectives.split()).split("/")
    noun = random.choice(_NOUNS.split())
    negative, positive = (frame.format(noun=noun, bad=bad, good=good) for frame in frames)
    return negative, positive


def turn(text: str, target: int, random: random.Random) -> str:
    """A sentence of the data's form, turned towards a target (0 or 1) by phrases and words.

    May come back as it was, or half-turned: let a reader of sentiment judge.
    """
    for row in table("opposite_phrases.tsv"):
        if row["towards"] == ("negative", "positive")[target]:
            text = re.sub(row["pattern"], _choice(row["choices"].split("|"), random), text)
    words, opposites = text.split(), tables()[target]
    speaking = {word for word in words if word in opposites}
    if target and (negated := _without_negation(text, random)) != text:
        text = negated
    elif not target and speaking and random.random() < 0.2 and _PLAIN_BE.search(text):
        return _PLAIN_BE.sub(_choice([r"\1 not ", r"\1 n't "], random), text, count=1)
    words = text.split()
    return " ".join(random.choice(opposites[word]) if word in opposites else word for word in words)


def _without_negation(text: str, random: random.Random) -> str:
    """The sentence with its "is not" and "did n't" made positive."""
    text = _NEGATED_BE.sub(
        lambda m: m[1] + (m[2] or "") if random.random() < 0.5 else f"{m[1]} very", text
    )
    return _NEGATED_DO.sub(lambda m: _POSITIVE_DO.get(m[1], f"{m[1]} "), text)


def _choice(choices: list[str], random: random.Random) -> Callable[[re.Match], str]:
    return lambda match: match.expand(random.choice(choices))
