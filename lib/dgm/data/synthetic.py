"""Data that the project makes itself, with a truth that is known.

A grammar of short reviews, sentences that all end alike, and mixtures of Gaussians in the plane.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "MIXTURES",
    "OPPOSITE",
    "SHARED_ENDING",
    "SUBJECTS",
    "TOPICS",
    "Mixture2D",
    "content_words",
    "flip",
    "gaussian_mixture_2d",
    "review_grammar",
    "sentiment_of",
    "shared_endings",
    "shared_endings_log_prob",
]

TOPICS = ("food", "service", "place")
_NOUNS = {
    "food": "pizza soup salad burger pasta steak dessert bread chicken rice sushi coffee",
    "service": "waiter waitress host manager staff server cashier bartender owner cook",
    "place": "patio room lounge bathroom table garden kitchen view parking entrance",
}
# Positive and negative words in pairs; the first group goes with every topic.
_ADJECTIVES = {
    "any": "great/awful amazing/terrible wonderful/horrible excellent/poor lovely/nasty",
    "food": "delicious/tasteless fresh/stale tasty/bland crisp/soggy",
    "service": "friendly/rude quick/slow helpful/careless polite/arrogant",
    "place": "clean/dirty cozy/cramped quiet/noisy bright/gloomy",
}
_VERBS = "loved/hated enjoyed/regretted praised/criticized liked/disliked"
_ADVERBS = "luckily/sadly thankfully/unfortunately happily/annoyingly"
_VENUES = ("restaurant", "cafe", "hotel", "bar", "diner", "bakery")
_PEOPLE = ("we", "i", "they", "my wife", "our friends", "my sister")
_TIMES = ("today", "yesterday", "last night", "this morning", "on sunday", "at noon")
# {n} {m}: nouns of the topic; {a} {b}: adjectives; {v}: verb; {d}: adverb; 5 to 12 words each.
_TEMPLATES = (
    "the {n} was {a} .",
    "the {n} was {a} {t} .",
    "{d} , the {n} was {a} {t} .",
    "{p} {v} the {n} and the {m} .",
    "the {n} was {a} and the {m} was {b} .",
    "{p} thought the {n} here was {a} .",
    "{p} {v} the {n} because it was {a} .",
    "{a} {n} and {b} {m} at this {w} .",
    "{p} {v} the {a} {n} at the {w} {t} .",
    "this {w} has {a} {n} and {b} {m} .",
)


def _pairs(text: str) -> list[tuple[str, str]]:
    return [tuple(pair.split("/")) for pair in text.split()]


_ADJECTIVE_PAIRS = {
    topic: _pairs(_ADJECTIVES["any"]) + _pairs(_ADJECTIVES[topic]) for topic in TOPICS
}
_VERB_PAIRS, _ADVERB_PAIRS = _pairs(_VERBS), _pairs(_ADVERBS)
_ALL_PAIRS = [*(pair for topic in _ADJECTIVES.values() for pair in _pairs(topic)), *_VERB_PAIRS]
_ALL_PAIRS += _ADVERB_PAIRS
_POSITIVE = {good for good, _ in _ALL_PAIRS}
OPPOSITE = dict(_ALL_PAIRS) | {bad: good for good, bad in _ALL_PAIRS}
"""Each word that carries sentiment, and the word that says the opposite."""

_CONTENT = {noun for nouns in _NOUNS.values() for noun in nouns.split()} | set(_VENUES)
_CONTENT |= {word for phrase in (*_PEOPLE, *_TIMES) for word in phrase.split()}


def review_grammar(n: int, seed: int = 0) -> tuple[list[str], Tensor, Tensor]:
    """Draws short reviews whose sentiment and topic are known; the same sentence may come twice.

    One to three words of a sentence carry its sentiment, all of them the same one; nothing else in
    it depends on the sentiment.

    Args:
        n: Number of sentences, each of 5 to 12 words, the full stop counted.
        seed: Same seed, same sentences.

    Returns:
        The sentences; their sentiment (n,) int64, 1 is positive; their topic (n,) int64, a place in
        `TOPICS`.

    Raises:
        ValueError: For n below 1 or a negative seed.
    """
    if n < 1 or seed < 0:
        raise ValueError(f"n={n}, seed={seed}: want n >= 1 and seed >= 0")
    random = np.random.RandomState(seed)  # whose numbers are promised never to change
    drawn = [_sentence(random) for _ in range(n)]
    texts, sentiments, topics = zip(*drawn, strict=True)
    return list(texts), torch.tensor(sentiments), torch.tensor(topics)


def flip(text: str) -> str:
    """The same sentence with each word of sentiment replaced by its opposite."""
    return " ".join(OPPOSITE.get(word, word) for word in text.split())


def sentiment_of(text: str) -> int:
    """1 when more words are positive than negative, 0 when fewer, -1 when as many (or none)."""
    carried = [word in _POSITIVE for word in text.split() if word in OPPOSITE]
    balance = 2 * sum(carried) - len(carried)
    return -1 if balance == 0 else int(balance > 0)


def content_words(text: str) -> list[str]:
    """The words that say what, who, where and when, in order: what a change of mood should keep."""
    return [word for word in text.split() if word in _CONTENT]


def _sentence(random: np.random.RandomState) -> tuple[str, int, int]:
    def pick(options):
        return options[random.randint(len(options))]

    positive, number = random.randint(2), random.randint(len(TOPICS))
    topic, side = TOPICS[number], 1 - positive
    nouns, adjectives = (
        [options[i] for i in random.permutation(len(options))[:2]]
        for options in (_NOUNS[topic].split(), _ADJECTIVE_PAIRS[topic])
    )
    words = {"n": nouns[0], "m": nouns[1], "a": adjectives[0][side], "b": adjectives[1][side]}
    words |= {"v": pick(_VERB_PAIRS)[side], "d": pick(_ADVERB_PAIRS)[side]}
    words |= {"w": pick(_VENUES), "p": pick(_PEOPLE), "t": pick(_TIMES)}
    return pick(_TEMPLATES).format(**words), positive, number


SHARED_ENDING = ("yours", "truly", ".")
_SUBJECT_WORDS = (
    "wave-tide-shore oven-spoon-kettle rose-hedge-spade storm-cloud-rain violin-drum-flute "
    "barn-cow-tractor pupil-lesson-chalk judge-court-jury bank-coin-loan train-rail-platform "
    "planet-comet-orbit elbow-knee-shoulder snow-sledge-frost wool-needle-button "
    "goal-referee-stadium novel-poem-chapter"
)
_FILLER_WORDS = (
    "the of and to a in is it you that he was for on are with as his they be at one have this "
    "from or had by hot but some what there we can out other were all your when up use word how "
    "said an each she which do their time if will way about many then them would write like so "
    "these her long make thing see him two has look more day could go come did my sound no most "
    "number who over know than call first people may down side been now find any new work part "
    "take get place made live where after back little only round man year came show every good "
    "me give our under name very through just form much great think say help low line before "
    "turn cause same mean differ move right boy too"
)
SUBJECTS = tuple(tuple(words.split("-")) for words in _SUBJECT_WORDS.split())
"""The subjects of `shared_endings`, three words each."""

_FILLERS = _FILLER_WORDS.split()
_N_SUBJECT_WORDS, _N_FILLERS = 6, 4  # of a sentence
_FILLER_SHARES = 1 / np.arange(1, 1 + len(_FILLERS))
_FILLER_SHARES /= _FILLER_SHARES.sum()


def shared_endings(n: int, seed: int = 0, *, front: bool = False) -> tuple[list[str], Tensor]:
    """Draws sentences that all end in the same three words, so that their last words tell nothing.

    Each has one subject of sixteen, six of whose words (three, evenly, with repetition) stand in random
    order among four fillers, which are drawn by Zipf's law and do not depend on the subject. All have 13
    words; with four markers there are 200 different tokens.

    Args:
        n: Number of sentences.
        seed: Same seed, same sentences.
        front: Whether the three shared words stand in front, as a control; all else is the same.

    Returns:
        The sentences, and their subjects (n,) int64, places in `SUBJECTS`.

    Raises:
        ValueError: For n below 1 or a negative seed.
    """
    if n < 1 or seed < 0:
        raise ValueError(f"n={n}, seed={seed}: want n >= 1 and seed >= 0")
    random = np.random.RandomState(seed)
    subjects = random.randint(len(SUBJECTS), size=n)
    chosen = random.randint(3, size=(n, _N_SUBJECT_WORDS))
    fillers = np.searchsorted(np.cumsum(_FILLER_SHARES)[:-1], random.random_sample((n, _N_FILLERS)))
    order = np.argsort(random.random_sample((n, _N_SUBJECT_WORDS + _N_FILLERS)), kind="stable")
    texts = []
    for s, w, f, o in zip(subjects, chosen, fillers, order, strict=True):
        words = [*(SUBJECTS[s][i] for i in w), *(_FILLERS[i] for i in f)]
        body = [words[i] for i in o]
        texts.append(" ".join([*SHARED_ENDING, *body] if front else [*body, *SHARED_ENDING]))
    return texts, torch.from_numpy(subjects.astype(np.int64))


def shared_endings_log_prob(texts: Sequence[str]) -> Tensor:
    """The exact log-probability of sentences of `shared_endings`, (N,) nats, float64; -inf for others.

    Its mean is the most that a model's log-likelihood can be on average.
    """
    subject_of = {word: i for i, words in enumerate(SUBJECTS) for word in words}
    filler = dict(zip(_FILLERS, np.log(_FILLER_SHARES).tolist(), strict=True))
    places = math.comb(_N_SUBJECT_WORDS + _N_FILLERS, _N_FILLERS)
    constant = -math.log(len(SUBJECTS) * places) - _N_SUBJECT_WORDS * math.log(3)
    found = []
    for text in texts:
        words = text.split()
        k = len(SHARED_ENDING)
        ends = {tuple(words[-k:]): words[:-k], tuple(words[:k]): words[k:]}
        body = ends.get(SHARED_ENDING, [])
        subjects = [subject_of[word] for word in body if word in subject_of]
        rest = [filler.get(word, -math.inf) for word in body if word not in subject_of]
        fits = len(subjects) == _N_SUBJECT_WORDS and len(rest) == _N_FILLERS
        known = fits and len(set(subjects)) == 1
        found.append(constant + sum(rest) if known else -math.inf)
    return torch.tensor(found, dtype=torch.float64)


MIXTURES = ("eight", "ring", "grid", "spiral")


class Mixture2D(NamedTuple):
    """Points of a mixture of equal round Gaussians in the plane.

    Attributes:
        points: (n, 2) float32.
        centres: (M, 2) float32, the Gaussians' means, at least eight sigma apart.
        sigma: Their standard deviation along either axis.
    """

    points: Tensor
    centres: Tensor
    sigma: float


def gaussian_mixture_2d(name: str, n: int, seed: int = 0) -> Mixture2D:
    """Draws n points, each from one of M Gaussians that are equally likely.

    Args:
        name: "eight" (on the unit circle, at multiples of pi / 4, sigma 0.05), "ring" (24 on the
            circle of radius 0.8, sigma 0.02), "grid" (5 x 5 from -0.8 to 0.8, sigma 0.03) or
            "spiral" (24, two turns out to radius 0.85, sigma 0.02).
        n: Number of points.
        seed: Same seed, same points.

    Raises:
        ValueError: For another name, n below 1 or a negative seed.
    """
    if name not in MIXTURES:
        raise ValueError(f"no mixture '{name}'; there are {', '.join(MIXTURES)}")
    if n < 1 or seed < 0:
        raise ValueError(f"n={n}, seed={seed}: want n >= 1 and seed >= 0")
    centres, sigma = _mixture(name)
    random = np.random.RandomState(seed)
    chosen = centres[random.randint(len(centres), size=n)]
    points = chosen + sigma * random.standard_normal((n, 2))
    return Mixture2D(*(torch.from_numpy(a).float() for a in (points, centres)), sigma)


def _mixture(name: str) -> tuple[np.ndarray, float]:
    if name == "grid":
        steps = np.linspace(-0.8, 0.8, 5)
        return np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2), 0.03
    if name == "eight":
        radius, angle, sigma = 1.0, np.arange(8) * np.pi / 4, 0.05
    elif name == "ring":
        radius, angle, sigma = 0.8, np.arange(24) * np.pi / 12, 0.02
    else:
        # The length of the spiral grows as the square of the angle.
        way = np.sqrt(np.arange(1, 25) / 24)
        radius, angle, sigma = 0.85 * way, 4 * np.pi * way, 0.02
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1), sigma
