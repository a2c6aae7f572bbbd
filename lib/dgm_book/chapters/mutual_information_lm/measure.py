"""Chapter 2's measures of a model, of its critic, and of what the model writes; nats."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.data import text
from dgm.data.synthetic import THEMES, find_theme, topic_chain, topic_chain_information
from dgm.data.text import Vocabulary
from dgm.nets.language_models import continue_text, perplexity
from dgm.papers import mutual_information_lm as paper
from dgm_book.chapters.mutual_information_lm.recipe import DISTANCES, Settings

N_OTHERS = 20  # sentences that each one is set beside in the bound
NEAR = 10  # sentences; what counts as near in hard retrieval
Texts = list[list[list[int]]]  # the sentences of several texts, as ids


class Splits(NamedTuple):
    """One text in three parts, as a stream of ids and as sentences."""

    vocabulary: Vocabulary
    streams: tuple[Tensor, ...]  # the end marker, then each sentence with its own
    segments: tuple[paper.Segments, ...]
    test: list[str]  # the last part's sentences, those without a word left out


class Trained(NamedTuple):
    """A trained model with its critic, at its best on the validation text."""

    model: paper.LanguageModel
    critic: paper.SegmentCritic
    splits: Splits
    rows: list[dict[str, Any]]  # validation, each with its step


@lru_cache(maxsize=2)
def load_splits(settings: Settings, seed: int) -> Splits:
    """What a model learns from, is chosen on, and is measured on; the seed is that of a chain."""
    sizes = settings.n_training, settings.n_validation, settings.n_test
    if settings.source:
        names = ("train", "validation", "test")
        parts = [text.load(settings.source, name).texts for name in names]
        parts = [lines[:n] for lines, n in zip(parts, sizes, strict=True)]
    else:
        ends = [*itertools.accumulate(n or 0 for n in sizes)]
        lines = topic_chain(ends[-1], seed, **settings.chain._asdict()).texts
        parts = [lines[a:b] for a, b in itertools.pairwise([0, *ends])]
    vocabulary = Vocabulary.build(parts[0], settings.vocabulary)
    ids = [[[vocabulary.id(w) for w in line.split()] for line in part] for part in parts]
    end, unknown = vocabulary.end, vocabulary.unknown
    return Splits(
        vocabulary,
        tuple(join_sentences(part, end) for part in ids),
        tuple(paper.make_segments(part, end, unknown, settings.longest) for part in ids),
        [line for line in parts[2] if line.split()],
    )


def join_sentences(sentences: Iterable[Sequence[int]], end: int) -> Tensor:
    """A text as one row of ids, (N,): an end marker, then each sentence with its own."""
    return torch.tensor([end, *(token for ids in sentences for token in (*ids, end))])


def split_sentences(ids: list[int], end: int) -> Iterator[list[int]]:
    """The whole sentences of a written text, those without a word left out."""
    start = 0
    for place, token in enumerate(ids):
        if token == end:
            if place > start:
                yield ids[start:place]
            start = place + 1


def distractors(
    anchor: Tensor, n_segments: int, n: int, generator: torch.Generator, near: int | None = None
) -> Tensor:
    """Places (B, n) of sentences, perhaps `near`, neither the anchors (B,) nor behind them."""
    reach = n_segments if near is None else near
    low = (anchor - reach).clamp(min=0)
    high = (anchor + 1 + reach).clamp(max=n_segments - 1)
    shape = (len(anchor), n)
    u = torch.rand(shape, generator=generator, device=anchor.device, dtype=torch.float64)
    place = low[:, None] + (u * (high - low - 1)[:, None]).long()
    return place + 2 * (place >= anchor[:, None])


@torch.no_grad()
def read_features(
    model: paper.LanguageModel, segments: paper.Segments, leak: bool = False
) -> Tensor:
    """Features (M, D) of all sentences, on the model's device."""
    device = model.embedding.weight.device
    segments = paper.Segments(*(x.to(device) for x in segments))
    places = torch.arange(len(segments.lengths), device=device).split(256)
    return torch.cat([paper.segment_features(model, segments, p, leak=leak) for p in places])


@torch.no_grad()
def pair_scores(
    critic: paper.SegmentCritic, features: Tensor, first: Tensor, second: Tensor
) -> Tensor:
    """Scores of pairs of places, first (N,) and second (N,) or (N, C): as second, CPU float64."""
    left = first.reshape(-1, *[1] * (second.ndim - 1)).expand_as(second).flatten()
    pairs = zip(left.split(1024), second.flatten().split(1024), strict=True)
    scores = torch.cat([critic(features[a], features[b]) for a, b in pairs])
    return scores.view(second.shape).to("cpu", torch.float64)


def share_outscored(following: Tensor, others: Tensor) -> float:
    """Which share of others (N, C) the scores (N,) of what follows exceed; ties count by halves."""
    above = following[:, None]
    more, ties = ((x).double().sum(1) for x in (others > above, others == above))
    return float((1 - (more + ties / 2) / others.shape[1]).mean())


def measure(trained: Trained, seed: int = 0, leak: bool = False) -> dict[str, float]:
    """Measures of a model and its critic on the test text."""
    device = trained.model.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    features = read_features(trained.model, trained.splits.segments[2], leak)
    n = len(features)
    anchor = torch.arange(n - 1, device=device)
    others = distractors(anchor, n, N_OTHERS, generator)
    hard = distractors(anchor, n, N_OTHERS, generator, near=NEAR)
    following, random, near = (
        pair_scores(trained.critic, features, anchor, second)
        for second in (anchor + 1, others, hard)
    )
    quality = perplexity(trained.model, trained.splits.streams[2].to(device), window=200, rows=16)
    return {
        "bound": float(paper.donsker_varadhan(following, random.flatten())),
        "critic_loss": float(paper.jensen_shannon_loss(following, random.flatten())),
        "nll": quality.nll,
        "perplexity": quality.perplexity,
        "retrieval_random": share_outscored(following, random),
        "retrieval_hard": share_outscored(following, near),
    }


def exact_information(settings: Settings) -> list[float]:
    """The mutual information of sentences of a chain at each of `DISTANCES`."""
    return topic_chain_information(len(THEMES), settings.chain.switch, DISTANCES).tolist()


def write_texts(trained: Trained, settings: Settings, seed: int) -> Texts:
    """Texts that the model writes, as their whole sentences with a word."""
    device = trained.model.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    end = trained.splits.vocabulary.end
    opening = torch.full((settings.n_samples, 1), end, device=device)
    written = continue_text(trained.model, opening, settings.sample_tokens, generator)
    return [list(split_sentences(row.tolist(), end)) for row in written]


def topic_information(texts: Texts, vocabulary: Vocabulary) -> list[float]:
    """Mutual information of the topics of sentences at each of `DISTANCES`; nats."""
    topics = [[find_theme(vocabulary.decode(ids)) for ids in sentences] for sentences in texts]
    fewest = min(len(row) for row in topics)
    if fewest <= max(DISTANCES):
        raise ValueError(f"a text of {fewest} sentences: want more than {max(DISTANCES)}")
    labels = torch.tensor([row[:fewest] for row in topics])
    labels = labels.where(labels >= 0, len(THEMES))
    pairs = [(labels[:, :-k].flatten(), labels[:, k:].flatten()) for k in DISTANCES]
    return [label_information(*pair, len(THEMES) + 1) for pair in pairs]


def label_information(first: Tensor, second: Tensor, n_values: int) -> float:
    """Mutual information of labels (N,) from their counts, nats (bias: Miller 1955)."""
    counts = torch.bincount(first * n_values + second, minlength=n_values**2)
    joint = counts.view(n_values, n_values).double() / len(first)
    product = joint.sum(1, keepdim=True) * joint.sum(0)
    value = torch.xlogy(joint, joint / torch.where(joint > 0, product, 1.0)).sum()
    cells, rows, columns = ((p > 0).sum() for p in (joint, joint.sum(1), joint.sum(0)))
    return float(value - (cells - rows - columns + 1) / (2 * len(first)))


def bound_by_distance(judge: Trained, texts: Texts, settings: Settings, seed: int) -> list[float]:
    """Donsker and Varadhan's bound by a given critic on sentences at each of `DISTANCES`; nats."""
    vocabulary = judge.splits.vocabulary
    sentences = [ids for row in texts for ids in row]
    end, unknown = vocabulary.end, vocabulary.unknown
    table = paper.make_segments(sentences, end, unknown, settings.longest)
    features = read_features(judge.model, table)
    device, n = features.device, len(features)
    text_index = torch.tensor([i for i, row in enumerate(texts) for _ in row], device=device)
    first = torch.arange(n - 1, device=device)
    others = distractors(first, n, N_OTHERS, torch.Generator(device).manual_seed(seed))
    product = pair_scores(judge.critic, features, first, others).flatten()
    bounds = []
    for k in DISTANCES:
        inside = torch.nonzero(text_index[:-k] == text_index[k:])[:, 0]
        if not len(inside):
            raise ValueError(f"no text has two sentences {k} apart")
        joint = pair_scores(judge.critic, features, inside, inside + k)
        bounds.append(float(paper.donsker_varadhan(joint, product)))
    return bounds


def make_questions(trained: Trained, seed: int = 0, n: int = 40) -> list[dict[str, Any]]:
    """Test sentences as long as most, what follows each or does not, and the critic's scores."""
    splits, generator = trained.splits, torch.Generator().manual_seed(seed)
    lengths = splits.segments[2].lengths
    long = lengths >= lengths.median()
    places = torch.nonzero(long[:-1] & long[1:])[:, 0]
    anchor = places[torch.randperm(len(places), generator=generator)[:n]]
    others = distractors(anchor, len(lengths), 40, generator)
    second = torch.stack([anchor + 1, torch.stack([row[long[row]][0] for row in others])], 1)
    features = read_features(trained.model, splits.segments[2])
    scores = pair_scores(trained.critic, features, anchor, second)
    answers = torch.randint(2, (len(anchor),), generator=generator).tolist()
    questions = []
    for place, pair, score, answer in zip(anchor, second, scores, answers, strict=True):
        order = [answer, 1 - answer]  # the one that follows stands at the answer's place
        options = [splits.test[i] for i in pair[order].tolist()]
        question = {"sentence": splits.test[int(place)], "options": options, "answer": answer}
        questions.append(question | {"scores": score[order].tolist()})
    return questions


def make_passages(
    trained: Trained, starts: Sequence[int] = (0, 200), n: int = 16, k: int = 12
) -> list[dict[str, Any]]:
    """Stretches of the test text; the critic's scores of their first sentences with the next k."""
    texts, passages = trained.splits.test, []
    features = read_features(trained.model, trained.splits.segments[2])
    for start in (min(start, len(texts) - n) for start in starts):
        first = start + torch.arange(n - k)
        second = first[:, None] + 1 + torch.arange(k)
        scores = pair_scores(trained.critic, features, first, second).tolist()
        stretch = {"texts": texts[start : start + n], "anchors": list(range(n - k))}
        passages.append(stretch | {"scores": scores})
    return passages
