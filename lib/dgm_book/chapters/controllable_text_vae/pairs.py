"""What a rewriter learns from: a sentence that is read, one that a person wrote, and its grade.

- graded: two grades of an item of the graded sentences, and the same grade twice;
- turned: a Yelp sentence, read after it was turned to its opposite by rule (`opposites.turn`), or,
  where no rule does, by phrases that people changed (`phrases.Phrases`);
- versions: a Yelp sentence and its opposites by hand, or two opposites by hand;
- joined: two of these as two clauses;
- copied: a sentence of either that already has its grade;
- negated: two sentences that differ by a negator (`opposites.negation_pair`);
- mined: a Yelp sentence, read as a rewriter turned it, where a judge let that pass.

What is written is a person's sentence, but for those with a negator, whose frames are by hand.
"""

import hashlib
import itertools
import random
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.data import graded_sentences, text
from dgm.data.text import Vocabulary
from dgm_book.chapters.controllable_text_vae.opposites import negation_pair, table, turn
from dgm_book.chapters.controllable_text_vae.phrases import FILLERS, Phrases
from dgm_book.chapters.controllable_text_vae.readers import LinearReader

OPPOSITES = "opposite_pairs.tsv"
WORDS, SLOTS = 7500, 8  # of the vocabulary; markers of unknown words
MAX_WORDS = 30
NUMBER, NUMERALS = "_num_", (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 45, 50, 60, 90, 100)
FILLED = 5  # one in so many of the strong rewrites with a filler stays
SURE = 0.5  # log-odds beyond which a turned sentence counts as turned
JOINTS = (" and ", " , and ", " , ", " . ")  # between two clauses
MIXED = 0.25  # share of joined pairs of which only the second clause is turned
COPIED, COPIED_OTHERS = 0.06, 0.05  # shares of the sentences that rules turn, and do not


class Pair(NamedTuple):
    """What is read, what is written, and the grade of that, from 0 to 4."""

    source: str
    target: str
    grade: int


class GradedReviews(NamedTuple):
    """Yelp sentences with a grade: their label's side, the stronger half of each at the end."""

    texts: list[str]
    grades: list[int]


class Versions(NamedTuple):
    """A sentence with different sentiments and all else alike, and their grades."""

    texts: tuple[str, ...]
    grades: tuple[int, ...]


def review_key(sentence: str) -> str:
    """What names a Yelp sentence in `review_rewrites.tsv`, which has none of them itself."""
    return hashlib.sha256(sentence.encode()).hexdigest()[:12]


def edited(source: str, edit: str) -> str:
    """A sentence's rewrite from words of its own and places "first:end" of words that stay."""
    words, result = source.split(), []
    for word in edit.split():
        first, colon, end = word.partition(":")
        places = colon and first.isdigit() and end.isdigit()
        result += words[int(first) : int(end)] if places else [word]
    return " ".join(result)


def versions_by_hand(reviews: GradedReviews) -> list[Versions]:
    """Yelp sentences with their opposites by hand, plain and strong, and `opposite_versions`.

    Most of the strong ones that put in a filler such as "really" are left out.
    """
    by_key = {review_key(t): (t, g) for t, g in zip(*reviews, strict=True)}
    versions = []
    for row in table("review_rewrites.tsv"):
        if row["sentence"] in by_key:
            source, grade = by_key[row["sentence"]]
            opposite = (3, 4) if row["label"] == "0" else (1, 0)
            edits = [(row[name], g) for name, g in zip(("plain", "strong"), opposite, strict=True)]
            if FILLERS.intersection(row["strong"].split()) and int(row["sentence"], 16) % FILLED:
                edits.pop()
            rewrites = [(edited(source, edit), g) for edit, g in edits if edit]
            versions.append(Versions(*zip((source, grade), *rewrites, strict=True)))
    return versions + opposite_versions()


def opposite_versions() -> list[Versions]:
    """Two opposite sentences each, both by hand."""
    sides = ("negative", "positive")
    rows = ([text.tokenise(r[k], keep_numbers=True) for k in sides] for r in table(OPPOSITES))
    return [Versions(tuple(texts), (1, 3)) for texts in rows]


def changed_phrases(versions: Sequence[Versions], texts: Sequence[str]) -> Phrases:
    """What people changed between opposite versions of a sentence."""
    sides = ([_sides(v, goal) for goal in (False, True)] for v in versions)
    opposite = ((a, b) for side in sides for (a, _), (b, _) in itertools.product(*side))
    return Phrases(opposite, texts)


def version_pairs(versions: Versions, rng: random.Random, count: int = 4) -> list[Pair]:
    """Some pairs of two versions, with equal numerals."""
    seed = rng.random()
    texts = [with_numerals(t, random.Random(seed)) for t in versions.texts]
    graded = list(itertools.permutations(zip(texts, versions.grades, strict=True), 2))
    drawn = rng.sample(graded, min(count, len(graded)))
    return [Pair(source, target, grade) for (source, _), (target, grade) in drawn]


def joined_pair(first: Versions, second: Versions, rng: random.Random) -> Pair | None:
    """Two sentences as two clauses, of which both are to be turned, or the second alone.

    None where one lacks a version on either side of the neutral grade.
    """
    sides = [[_sides(v, goal) for goal in (False, True)] for v in (first, second)]
    towards = rng.random() < 0.5
    if not all(side for clause in sides for side in clause):
        return None
    (a, _), (b, _) = (rng.choice(clause[not towards]) for clause in sides)
    (c, grade), (d, other) = (rng.choice(clause[towards]) for clause in sides)
    glue, turned_glue = rng.choice(JOINTS), None
    if rng.random() < MIXED:
        a, glue, turned_glue = c, rng.choice((" , but ", " but ")), rng.choice((" , and ", " and "))
    source = f"{_without_end(a)}{glue}{b}"
    target = f"{_without_end(c)}{turned_glue or glue}{d}"
    return Pair(source, target, min(grade, other) if towards else max(grade, other))


def _sides(versions: Versions, positive: bool) -> list[tuple[str, int]]:
    rows = zip(versions.texts, versions.grades, strict=True)
    return [(t, g) for t, g in rows if (g > 2 if positive else g < 2) and NUMBER not in t]


def _without_end(sentence: str) -> str:
    return re.sub(r"( [.!?])+$", "", sentence)


def review_texts() -> text.Sentences:
    """All Yelp sentences outside dev and test, of at most MAX_WORDS words."""
    parts = [text.load("yelp", split) for split in ("train", "held_out")]
    texts = [t for part in parts for t in part.texts]
    labels = torch.cat([part.labels for part in parts])
    fits = [i for i, t in enumerate(texts) if 2 <= len(t.split()) <= MAX_WORDS]
    return text.Sentences([texts[i] for i in fits], labels[fits])


def graded_reviews(intensity: LinearReader) -> GradedReviews:
    """Those sentences with a grade each, the stronger half of each label at the end."""
    texts, labels, _ = review_texts()
    value, positive = intensity(texts), labels.numpy() == 1
    middle = [np.median(value[positive == y]) for y in (False, True)]
    grades = np.where(positive, 3 + (value > middle[1]), 1 - (value < middle[0]))
    return GradedReviews(texts, grades.tolist())


def graded_items(split: str = "train") -> list[tuple[str, ...]]:
    """The sentences of each graded item, in the form of the data."""
    items = graded_sentences.load(split)
    return [tuple(text.tokenise(s, keep_numbers=True) for s in i.sentences) for i in items]


def vocabulary(texts: Sequence[str]) -> Vocabulary:
    """The most frequent words; no number."""
    words = (" ".join(w for w in t.split() if not any(c.isdigit() for c in w)) for t in texts)
    plain = [t.replace(NUMBER, "") for t in words]
    return Vocabulary.build(plain, WORDS, SLOTS)


def graded_pairs(item: tuple[str, ...], rng: random.Random, count: int = 6) -> list[Pair]:
    """Pairs of an item in random grades, and one of the same grade twice."""
    if len(set(item)) == 1:
        return [Pair(item[0], item[0], g) for g in rng.sample(range(5), 2)]
    orders = [(i, j) for i in range(5) for j in range(5) if i != j]
    same = rng.randrange(5)
    chosen = [*rng.sample(orders, count), (same, same)]
    return [Pair(item[i], item[j], j) for i, j in chosen]


def negated_pairs(count: int, rng: random.Random) -> list[Pair]:
    """Pairs of sentences that differ by a negator, in both directions, in grades 1 and 3."""
    drawn = []
    for _ in range(count):
        sentences = negation_pair(rng)
        towards = rng.randrange(2)
        drawn.append(Pair(sentences[1 - towards], sentences[towards], 1 + 2 * towards))
    return drawn


def review_pairs(
    reviews: GradedReviews,
    chosen: Sequence[int],
    classifier: LinearReader,
    phrases: Phrases,
    rng: random.Random,
) -> list[Pair]:
    """Pairs of chosen Yelp sentences, one at most: those that are turned, and some copies."""
    rows = [(with_numerals(reviews.texts[i], rng), reviews.grades[i]) for i in chosen]
    by_rule = [turn(target, int(grade < 2), rng) for target, grade in rows]
    by_phrase = [phrases.turn(target, int(grade < 2), rng) for target, grade in rows]
    read = zip(by_rule, classifier(by_rule), by_phrase, classifier(by_phrase), strict=True)
    pairs = []
    for (target, grade), (source, odds, other, other_odds) in zip(rows, read, strict=True):
        sign = 1 if grade < 2 else -1
        if sign * odds <= SURE:
            source, odds = other, other_odds
        right = sign * odds > SURE and source != target
        copied = COPIED if right else COPIED_OTHERS
        if rng.random() < copied:
            pairs.append(Pair(target, target, grade))
        elif right:
            pairs.append(Pair(source, target, grade))
    return pairs


def with_numerals(sentence: str, rng: random.Random) -> str:
    """The sentence with a numeral for each _num_ of the data."""
    return " ".join(str(rng.choice(NUMERALS)) if w == NUMBER else w for w in sentence.split())


class Batch(NamedTuple):
    """Pairs as ids, <s> first and </s> last."""

    source: Tensor  # (B, S)
    grade: Tensor  # (B, G), one-hot
    target: Tensor  # (B, T)


def encode(vocabulary: Vocabulary, pairs: Sequence[Pair], n_grades: int = 5) -> Batch:
    """Pairs as a batch; a target's unknown words are the source's markers.

    Raises:
        ValueError: a target has an unknown word that its source lacks (`can_write` says so).
    """
    source = vocabulary.encode([pair.source for pair in pairs])
    rows = []
    for pair, unknown in zip(pairs, source.unknown, strict=True):
        ids = [vocabulary.start]
        for word in pair.target.split():
            known = vocabulary.id(word)
            if known == vocabulary.unknown:
                known += min(unknown.index(word), SLOTS - 1)
            ids.append(known)
        rows.append(torch.tensor([*ids, vocabulary.end]))
    target = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)
    grade = torch.nn.functional.one_hot(torch.tensor([p.grade for p in pairs]), n_grades).float()
    return Batch(source.tokens, grade, target)


def can_write(vocabulary: Vocabulary, pair: Pair) -> bool:
    """Whether each word of the target is known or stands in the source, and both fit."""
    source, target = pair.source.split(), pair.target.split()
    unknown = {w for w in source if vocabulary.id(w) == vocabulary.unknown}
    return (
        0 < len(source) <= MAX_WORDS
        and 0 < len(target) <= MAX_WORDS
        and len(unknown) <= SLOTS
        and all(vocabulary.id(w) != vocabulary.unknown or w in unknown for w in target)
    )
