"""Data that the project makes itself, with a truth that is known.

A grammar of short reviews, sentences that all end alike, texts whose sentences follow from each other
as a chain of topics does, and mixtures of Gaussians in the plane. `dgm.data.dynamics` has the walks in
the plane, which are handed on here.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.data.dynamics import DEVIATIONS, SUITES, Dynamics, dynamics_matrices, switching_dynamics

__all__ = [
    "DEVIATIONS",
    "MIXTURES",
    "OPPOSITE",
    "SHARED_ENDING",
    "SUBJECTS",
    "SUITES",
    "THEMES",
    "TOPICS",
    "Dynamics",
    "Mixture2D",
    "TopicChain",
    "content_words",
    "dynamics_matrices",
    "flip",
    "gaussian_mixture_2d",
    "review_grammar",
    "sentiment_of",
    "shared_endings",
    "shared_endings_log_prob",
    "switching_dynamics",
    "theme_of",
    "topic_chain",
    "topic_chain_information",
    "topic_chain_log_prob",
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


_THEME_WORDS = (
    "sea boat wave harbor sail fish shore captain tide anchor net gull island sailor deck mast salt "
    "storm reef cargo rope ferry crab pier lighthouse current voyage dolphin beacon oyster",
    "bread oven soup knife butter sugar onion flour pan spoon recipe cheese pepper dough kettle plate "
    "garlic cream honey stew apron jar lemon roast cinnamon bowl vinegar pastry ladle whisk",
    "rose tree leaf seed soil spade hedge flower bee lawn root moss petal fence ivy orchard tulip "
    "shovel compost gate vine bud thorn bulb fern gardener pear willow trellis nettle",
    "song violin drum choir piano melody flute singer guitar chord stage harp concert trumpet rhythm "
    "opera cello tune applause orchestra ballad organ conductor verse tempo bass duet encore fiddle "
    "clarinet",
    "judge law court jury trial witness lawyer crime prison verdict oath clerk appeal thief guilt "
    "sentence evidence sheriff fine motive pardon statute bail plea client warrant alibi felony "
    "bailiff docket",
    "school teacher pupil lesson chalk pencil book exam desk grade essay library ruler notebook "
    "arithmetic spelling history classroom quiz eraser map alphabet homework scholar dictionary "
    "lecture diploma satchel inkwell globe",
    "star moon planet comet orbit telescope rocket galaxy meteor astronaut eclipse gravity sun "
    "satellite cosmos nebula crater launch asteroid capsule horizon observatory mars saturn zodiac "
    "aurora probe vacuum module quasar",
    "snow ice frost sledge mountain glacier skate blizzard ski peak avalanche mitten icicle scarf "
    "climber cabin fir sleet summit ridge wolf thaw hail slope boot lantern blanket hut valley pine",
)
_THEME_NAMES = ("sea", "kitchen", "garden", "music", "court", "school", "sky", "winter")
THEMES = dict(zip(_THEME_NAMES, (tuple(w.split()) for w in _THEME_WORDS), strict=True))
"""The topics of `topic_chain` in their order, thirty words each, which no two share."""

_LINK_WORDS = "the of and to a in it was with for on that as at by from then near old one"
_LINKS = tuple(_LINK_WORDS.split())
_THEME_OF = {word: k for k, words in enumerate(THEMES.values()) for word in words}
_LINK_SHARE = 0.4  # of a sentence's words, one of which is of its topic whatever happens


def _zipf(n: int) -> np.ndarray:
    shares = 1 / np.arange(1, 1 + n)
    return shares / shares.sum()


class TopicChain(NamedTuple):
    """A text of N sentences, and what each is about.

    Attributes:
        texts: The sentences in order, without a full stop.
        topics: (N,) int64, places in `THEMES`.
    """

    texts: list[str]
    topics: Tensor


def topic_chain(
    n: int,
    seed: int = 0,
    *,
    n_topics: int = 8,
    switch: float = 0.1,
    order: str = "stay",
    words: tuple[int, int] = (5, 9),
) -> TopicChain:
    """Draws a text whose topic follows a symmetric Markov chain, one step a sentence.

    The topic moves on as it should with probability 1 - switch, else to one of the others, evenly. A
    sentence's words are each from its topic's thirty or, two times in five, from twenty that all topics
    share, both by Zipf's law; at least one is of the topic. So a sentence tells its topic, and
    of other sentences it tells nothing more: the mutual information of two is that of their topics.

    Args:
        n: Number of sentences.
        seed: Same seed, same text.
        n_topics: K, 2 to 8; the first is drawn evenly.
        switch: epsilon, 0 to 1.
        order: "stay": a topic should stay; "cycle": it should go to the next, and the last to the first.
        words: A sentence has from one to the other, evenly.

    Raises:
        ValueError: For n below 1, a negative seed, or options out of range.
    """
    if n < 1 or seed < 0 or not 1 <= words[0] <= words[1]:
        raise ValueError(
            f"n={n}, seed={seed}, words={words}: want n >= 1 and seed >= 0, and words from 1 upwards"
        )
    _check_chain(n_topics, switch, order)
    random = np.random.RandomState(seed)
    steps = np.where(random.random_sample(n) < switch, random.randint(1, n_topics, size=n), 0)
    steps += order == "cycle"
    steps[0] = random.randint(n_topics)
    topics = np.cumsum(steps) % n_topics
    lengths = random.randint(words[0], words[1] + 1, size=n)
    linked = random.random_sample((n, words[1])) < _LINK_SHARE
    linked[np.arange(n), (random.random_sample(n) * lengths).astype(int)] = False
    draws = random.random_sample((n, words[1]))
    themes = np.array(list(THEMES.values()))
    of_topic = themes[topics[:, None], _ranks(draws, themes.shape[1])]
    table = np.where(linked, np.array(_LINKS)[_ranks(draws, len(_LINKS))], of_topic)
    texts = [" ".join(row[:length]) for row, length in zip(table, lengths, strict=True)]
    return TopicChain(texts, torch.from_numpy(topics.astype(np.int64)))


def topic_chain_information(
    n_topics: int = 8, switch: float = 0.1, distance: int | Sequence[int] = 1
) -> Tensor:
    """The exact mutual information of two sentences of `topic_chain`; their order does not matter.

    With lambda = 1 - switch K / (K - 1), the topic is where it should be after k steps with probability
    q = 1 / K + (1 - 1 / K) lambda^k, so that I = log K + q log q + (1 - q) log((1 - q) / (K - 1)).

    Args:
        n_topics: K.
        switch: epsilon.
        distance: k, 1 for neighbours; one or several, each 0 or more.

    Returns:
        Nats, float64, of the shape of distance.

    Raises:
        ValueError: For options out of range.
    """
    _check_chain(n_topics, switch, "stay")
    k = torch.as_tensor(distance, dtype=torch.float64)
    if (k < 0).any():
        raise ValueError(f"distance must be 0 or more, got {distance}")
    others = n_topics - 1
    q = (1 + others * (1 - switch * n_topics / others) ** k) / n_topics
    away = (1 - q).clamp(min=0)  # a rounding error below 0 at distance 0
    return math.log(n_topics) + torch.xlogy(q, q) + torch.xlogy(away, away / others)


def topic_chain_log_prob(
    texts: Sequence[str],
    n_topics: int = 8,
    switch: float = 0.1,
    order: str = "stay",
    words: tuple[int, int] = (5, 9),
) -> Tensor:
    """The exact log-probability of each sentence given those before it, (N,) nats, float64.

    The negative of its mean is the least that a language model's loss can be, in nats a sentence. A
    sentence that `topic_chain` cannot make has -inf, and the next one counts as a first one.
    """
    _check_chain(n_topics, switch, order)
    others, first = n_topics - 1, -math.log(n_topics)
    with np.errstate(divide="ignore"):
        stay, leave = np.log(1 - switch), np.log(switch / others)
    of_word = {}
    for known in (*THEMES.values(), _LINKS):
        of_word |= dict(zip(known, np.log(_zipf(len(known))).tolist(), strict=True))
    found, before = [], None
    for text in texts:
        parts = text.split()
        mine = [word for word in parts if word in _THEME_OF]
        topics = {_THEME_OF[word] for word in mine}
        known = all(word in of_word for word in parts)
        topic = topics.pop() if len(topics) == 1 and known else n_topics
        if topic >= n_topics or not words[0] <= len(parts) <= words[1]:
            found.append(-math.inf)
            before = None
            continue
        expected = None if before is None else (before + (order == "cycle")) % n_topics
        value = first if before is None else stay if topic == expected else leave
        # One place, drawn evenly, is the topic's for certain: m / n ways to have drawn it.
        m, n = len(mine), len(parts)
        value += math.log(m / n) + (m - 1) * math.log(1 - _LINK_SHARE)
        value += (n - m) * math.log(_LINK_SHARE) - math.log(words[1] - words[0] + 1)
        found.append(value + sum(of_word[word] for word in parts))
        before = topic
    return torch.tensor(found, dtype=torch.float64)


def theme_of(text: str) -> int:
    """The topic of most of a sentence's words, a place in `THEMES`; -1 for none, or for a tie."""
    counts = [0] * len(THEMES)
    for word in text.split():
        if word in _THEME_OF:
            counts[_THEME_OF[word]] += 1
    most = max(counts)
    return counts.index(most) if most and counts.count(most) == 1 else -1


def _ranks(draws: np.ndarray, n: int) -> np.ndarray:
    return np.searchsorted(np.cumsum(_zipf(n))[:-1], draws)


def _check_chain(n_topics: int, switch: float, order: str) -> None:
    if not 2 <= n_topics <= len(THEMES) or not 0 <= switch <= 1:
        raise ValueError(
            f"n_topics={n_topics}, switch={switch}: want 2 <= n_topics <= {len(THEMES)} and "
            "0 <= switch <= 1"
        )
    if order not in ("stay", "cycle"):
        raise ValueError(f"order must be 'stay' or 'cycle', got {order!r}")


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
