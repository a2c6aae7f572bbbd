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

FILE = Path(__file__).resolve().parents[4] / "book" / "corpus" / "opposites.tsv"
BE = r"is|was|are|were|am|'s|'re|'m|be|been"
DO = r"do|does|did|would|could|can|will|ca|wo|should"
FILLED = r"very|really|so|quite|too|extremely|absolutely|that|all|even|particularly|super|pretty"
AGAIN = r"back|return|going back|coming back|returning|visiting"
RETURN = r"go|come|be|return|eat|order|use|visit|shop|stay"

# Each is a pattern and what replaces it, towards negative; the other list is towards positive.
_TO_NEGATIVE = [
    (rf"\bwill (?:definitely |certainly |surely )?be (?:{AGAIN})\b", "wo n't be back|will not be back|will never be back"),
    (rf"\bwill (?:definitely|certainly|surely|gladly) ({RETURN})\b", r"will never \1|will not \1|wo n't \1"),
    (r"\b(?:highly|definitely|would|strongly|can|do) recommend\b", "do not recommend|would not recommend|ca n't recommend"),
    (r"\bca n't wait to\b", "have no wish to|will never"),
    (r"\bca n't say enough (?:good things )?about\b", "ca n't say anything good about"),
    (r"\bworth (?:every penny|the (?:price|money|wait|drive|trip))\b", "a waste of money|not worth the money|not worth it"),
    (r"\b(?:well )?worth it\b", "not worth it"),
    (r"\bcheck (?:it|this place|them) out\b", "stay away|avoid this place|go elsewhere"),
    (r"\bnever (?:been )?disappoint(?:s|ed)?\b", "always disappointed|always disappoints"),
    (r"\bno complaints\b", "many complaints|nothing but complaints"),
    (r"\bno problems?\b", "nothing but problems|a lot of problems"),
    (r"\b(?:lots|plenty) of\b", "no|hardly any|not enough"),
]  # fmt: skip
_TO_POSITIVE = [
    (rf"\b(?:wo n't|will not|will never|wont) (?:ever )?be (?:{AGAIN})\b", "will be back|will definitely be back"),
    (rf"\b(?:will never|wo n't ever|will not|wo n't) ({RETURN})\b", r"will definitely \1|will gladly \1"),
    (rf"\bnever ({RETURN})(ing)?\b", r"definitely \1\2"),
    (r"\b(?:do n't|do not|would not|would n't|ca n't|can not|could n't) recommend\b", "highly recommend|would recommend|definitely recommend"),
    (r"\b(?:do n't waste|save) your (?:time|money)\b", "treat yourself|it is worth your time"),
    (r"\b(?:a )?(?:complete |total |huge )?waste of (?:time|money)\b", "worth every penny|well worth it|time well spent"),
    (r"\bnot worth\b", "well worth|worth"),
    (r"\bstay away\b|\bgo elsewhere\b|\bavoid this place\b", "stop by|check it out|come here"),
    (r"\bnot (?:even|at all) ", ""),
    (r"\bcould (?:have been|be) better\b", "could not be better|was perfect"),
    (r"\bno longer\b", "still"),
    (r"\bnot a single\b|\bhardly any\b", "every single|plenty of"),
    (r"\bnot enough\b", "plenty of|more than enough"),
]  # fmt: skip
_NEGATED_BE = re.compile(rf"\b({BE}) (?:n't|not)( (?:{FILLED}))?\b")
_NEGATED_DO = re.compile(rf"\b({DO}) (?:n't|not) (?:even |really )?")
_PLAIN_BE = re.compile(rf"\b({BE})(?: (?:{FILLED}))? (?!n't|not|no)(?=(?:a |an |the )?\w)")
_POSITIVE_DO = {"ca": "can ", "wo": "will ", "do": "", "did": "", "does": ""}


@functools.cache
def tables() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """For each target, 0 negative and 1 positive, the words to replace and their opposites."""
    with FILE.open(encoding="utf-8", newline="") as file:
        groups = [[field.split() for field in row] for row in csv.reader(file, delimiter="\t")][1:]
    result: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for group in groups:
        for target in (0, 1):
            for word in group[1 - target]:
                result[target].setdefault(word, []).extend(group[target])
    return result


def turn(text: str, target: int, random: random.Random) -> str:
    """A sentence of the data's form, turned towards a target (0 or 1) by phrases and words.

    May come back as it was, or half-turned: let a reader of sentiment judge.
    """
    for pattern, choices in _TO_POSITIVE if target else _TO_NEGATIVE:
        text = re.sub(pattern, _choice(choices.split("|"), random), text)
    words, opposites = text.split(), tables()[target]
    speaking = {word for word in words if word in opposites}
    if target and (negated := _without_negation(text, random)) != text:
        text = negated
    elif not target and speaking and random.random() < 0.2 and _PLAIN_BE.search(text):
        return _PLAIN_BE.sub(_choice([r"\1 not ", r"\1 n't "], random), text, count=1)
    words = text.split()
    return " ".join(
        random.choice(opposites[word]) if word in opposites else word for word in words
    )


def _without_negation(text: str, random: random.Random) -> str:
    """The sentence with its "is not" and "did n't" made positive."""
    text = _NEGATED_BE.sub(
        lambda m: m[1] + (m[2] or "") if random.random() < 0.5 else f"{m[1]} very", text
    )
    return _NEGATED_DO.sub(lambda m: _POSITIVE_DO.get(m[1], f"{m[1]} "), text)


def _choice(choices: list[str], random: random.Random) -> Callable[[re.Match], str]:
    return lambda match: match.expand(random.choice(choices))
