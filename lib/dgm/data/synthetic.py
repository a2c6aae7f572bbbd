"""Data that the project makes itself, whose truth is known, by a RandomState of the seed."""

import json
import math
from collections import Counter, namedtuple
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.data.dynamics import switching_dynamics as switching_dynamics

# What sentences are made of. Adjectives, verbs and adverbs are pairs, positive and negative; the
# adjectives "any" go with every topic. In templates {n} {m} are nouns of the topic, {a} {b}
# adjectives, {v} a verb, {d} an adverb, {p} people, {t} a time and {w} a venue.
_WORDS = json.loads(Path(__file__).with_name("words.json").read_text("utf-8"))
TOPICS = ("food", "service", "place")
_POSITIVE_TO_NEGATIVE = dict(
    pair
    for pairs in (*_WORDS["adjectives"].values(), _WORDS["verbs"], _WORDS["adverbs"])
    for pair in pairs
)
OPPOSITE = _POSITIVE_TO_NEGATIVE | {bad: good for good, bad in _POSITIVE_TO_NEGATIVE.items()}
"""Each word that carries sentiment, and the word that says the opposite."""


def review_grammar(n: int, seed: int = 0) -> tuple[list[str], Tensor, Tensor]:
    """Draws n short reviews, their sentiment (n,) int64, 1 is positive, and topic in `TOPICS`."""
    random, adjectives = _random(n, seed), _WORDS["adjectives"]

    def pick(options):
        return options[random.randint(len(options))]

    def two(options):
        return [options[i] for i in random.permutation(len(options))[:2]]

    texts, labels = [], []
    for _ in range(n):
        positive, topic = random.randint(2), random.randint(len(TOPICS))
        side, name = 1 - positive, TOPICS[topic]
        nouns, (a, b) = two(_WORDS["nouns"][name]), two(adjectives["any"] + adjectives[name])
        words = {"n": nouns[0], "m": nouns[1], "a": a[side], "b": b[side]}
        words |= {"v": pick(_WORDS["verbs"])[side], "d": pick(_WORDS["adverbs"])[side]}
        words |= {k: pick(_WORDS[v]) for k, v in (("w", "venues"), ("p", "people"), ("t", "times"))}
        texts.append(pick(_WORDS["templates"]).format(**words))
        labels.append((positive, topic))
    sentiments, topics = torch.tensor(labels).T.contiguous()
    return texts, sentiments, topics


def flip(text: str) -> str:
    """The same sentence with each word of sentiment replaced by its opposite."""
    return " ".join(OPPOSITE.get(word, word) for word in text.split())


SHARED_ENDING = ("yours", "truly", ".")
SUBJECTS = tuple(map(tuple, _WORDS["subjects"]))  # three words each


def shared_endings(n: int, seed: int = 0, *, front: bool = False) -> tuple[list[str], Tensor]:
    """Draws n sentences that all end in the same three words, so that their last words say nothing.

    Each has six words of one subject of sixteen in random order among four fillers. As a control,
    `front` puts the shared words first. Also returns subjects (n,), indices into `SUBJECTS`.
    """
    random = _random(n, seed)
    subjects = random.randint(len(SUBJECTS), size=n)
    chosen = random.randint(3, size=(n, 6))
    filler_words = _WORDS["fillers"]
    fillers = _zipf_ranks(random.random_sample((n, 4)), len(filler_words))
    order = np.argsort(random.random_sample((n, 10)), kind="stable")
    texts = []
    for s, w, f, o in zip(subjects, chosen, fillers, order, strict=True):
        words = [*(SUBJECTS[s][i] for i in w), *(filler_words[i] for i in f)]
        body = [words[i] for i in o]
        texts.append(" ".join([*SHARED_ENDING, *body] if front else [*body, *SHARED_ENDING]))
    return texts, torch.from_numpy(subjects.astype(np.int64))


THEMES = {name: tuple(words) for name, words in _WORDS["themes"].items()}
"""The topics of `topic_chain` in their order, thirty words each, which no two share."""
_THEME = {word: k for k, words in enumerate(THEMES.values()) for word in words}


_TopicChain = namedtuple("_TopicChain", "texts topics")


def topic_chain(
    n: int, seed: int = 0, *, n_topics=8, switch=0.1, order="stay", words: tuple[int, int] = (5, 9)
) -> _TopicChain:
    """Draws a text whose topic follows a symmetric Markov chain, one step per sentence.

    The topic stays (order "stay") or moves to the next ("cycle") with probability 1 - switch, else
    to one of the other n_topics - 1 (2 to 8 in all), uniformly. A sentence has from words[0] to
    words[1] words, uniformly, three in five of its topic's thirty and the others shared, by Zipf's
    law: two sentences' mutual information is that of their topics. Returns the texts in order, and
    their topics (n,) int64, indices into `THEMES`.
    """
    if order not in ("stay", "cycle") or not 1 <= words[0] <= words[1]:
        raise ValueError(f"{order=}, {words=}: want 'stay' or 'cycle', and words from 1 upwards")
    _check_chain(n_topics, switch)
    random = _random(n, seed)
    steps = np.where(random.random_sample(n) < switch, random.randint(1, n_topics, size=n), 0)
    steps += order == "cycle"
    steps[0] = random.randint(n_topics)
    topics = np.cumsum(steps) % n_topics
    lengths = random.randint(words[0], words[1] + 1, size=n)
    linked = random.random_sample((n, words[1])) < 0.4
    linked[np.arange(n), (random.random_sample(n) * lengths).astype(int)] = False
    draws = random.random_sample((n, words[1]))
    links = np.array(_WORDS["links"])
    themed = np.array(list(THEMES.values()))[topics[:, None], _zipf_ranks(draws, 30)]
    table = np.where(linked, links[_zipf_ranks(draws, len(links))], themed)
    texts = [" ".join(row[:length]) for row, length in zip(table, lengths, strict=True)]
    return _TopicChain(texts, torch.from_numpy(topics.astype(np.int64)))


def topic_chain_information(
    n_topics: int = 8, switch: float = 0.1, distance: int | Sequence[int] = 1
) -> Tensor:
    """The exact mutual information of two sentences of `topic_chain`, float64 nats, like distance.

    For q = 1 / K + (1 - 1 / K) r^distance, r = 1 - switch K / (K - 1), the topic's probability, it
    is I = log K + q log q + (1 - q) log((1 - q) / (K - 1)).
    """
    _check_chain(n_topics, switch)
    k = torch.as_tensor(distance, dtype=torch.float64)
    if (k < 0).any():
        raise ValueError(f"distance must be 0 or more, got {distance}")
    others = n_topics - 1
    q = (1 + others * (1 - switch * n_topics / others) ** k) / n_topics
    away = (1 - q).clamp(min=0)  # a rounding error below 0 at distance 0
    return math.log(n_topics) + torch.xlogy(q, q) + torch.xlogy(away, away / others)


def find_theme(text: str) -> int:
    """The topic of most of a sentence's words, an index into `THEMES`; -1 for none or a tie."""
    topics = Counter(_THEME[word] for word in text.split() if word in _THEME).most_common(2)
    tie = len(topics) == 2 and topics[0][1] == topics[1][1]
    return topics[0][0] if topics and not tie else -1


def _check_chain(n_topics: int, switch: float) -> None:
    if not 2 <= n_topics <= len(THEMES) or not 0 <= switch <= 1:
        raise ValueError(f"{n_topics=}, {switch=}: want 2 <= n_topics <= 8 and 0 <= switch <= 1")


def _polar(radius: float | np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


_STEPS = np.linspace(-0.8, 0.8, 5)
_TURN = np.sqrt(np.arange(1, 25) / 24)  # the length of a spiral grows as the square of the angle
_MIXTURES = {  # centres and sigma
    "eight": (_polar(1.0, np.arange(8) * np.pi / 4), 0.05),
    "ring": (_polar(0.8, np.arange(24) * np.pi / 12), 0.02),
    "grid": (np.stack(np.meshgrid(_STEPS, _STEPS), -1).reshape(-1, 2), 0.03),
    "spiral": (_polar(0.85 * _TURN, 4 * np.pi * _TURN), 0.02),
}
MIXTURES = tuple(_MIXTURES)


class Mixture2D(NamedTuple):
    """Points of a mixture of equal round Gaussians in the plane."""

    points: Tensor  # (n, 2) float32
    centres: Tensor  # (M, 2) float32, the Gaussians' means, at least eight sigma apart
    sigma: float  # their standard deviation along either axis


def gaussian_mixture_2d(name: str, n: int, seed: int = 0) -> Mixture2D:
    """Draws n points, each from one of M Gaussians that are equally likely.

    "eight", "ring" (24), "grid" (25), "spiral" (24), else ValueError; sigma is 0.05 to 0.02.
    """
    if name not in MIXTURES:
        raise ValueError(f"no mixture '{name}'; there are {', '.join(MIXTURES)}")
    random = _random(n, seed)
    centres, sigma = _MIXTURES[name]
    points = centres[random.randint(len(centres), size=n)] + sigma * random.standard_normal((n, 2))
    return Mixture2D(torch.from_numpy(points).float(), torch.from_numpy(centres).float(), sigma)


def _random(n: int, seed: int) -> np.random.RandomState:
    if n < 1 or seed < 0:
        raise ValueError(f"n={n}, seed={seed}: want n >= 1 and seed >= 0")
    return np.random.RandomState(seed)


def _zipf_ranks(draws: np.ndarray, n: int) -> np.ndarray:
    """Ranks below n by Zipf's law, from uniform draws."""
    shares = 1 / np.arange(1, 1 + n)
    return np.searchsorted(np.cumsum(shares / shares.sum())[:-1], draws)
