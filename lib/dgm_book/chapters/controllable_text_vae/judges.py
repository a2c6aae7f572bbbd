"""Judges of rewritten sentences: a classifier, a language model, BLEU, and a control without a network.

The judges learn from the held-out split alone, which no model that they judge has seen.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sacrebleu
import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.data import text
from dgm.data.text import Corpus, Sentences, Vocabulary
from dgm.measure import Interval, bootstrap
from dgm.nets.lstm import LanguageModel
from dgm.nets.text_cnn import TextCNN
from dgm.train import TrainingState, fit
from dgm_book import profiles, results

CHAPTER = "04_controllable_text_vae"
EXPERIMENT = (
    "dgm_book.chapters.controllable_text_vae.page"  # whose code this chapter's results depend on
)
FILES = {"yelp": ("yelp-shen", "yelp-li"), "amazon": ("amazon-li", "vader-snippets"), "reviews": ()}
MOST_EPOCHS = 20  # a small set of sentences is not learnt by heart
_BLEU = sacrebleu.BLEU(tokenize="none", smooth_method="none", force=True)


class Settings(NamedTuple):
    """The sizes of one profile."""

    vocabulary: int
    embedding: int  # of the classifier
    filters: int  # of each of its widths
    classifier_steps: int
    hidden: int  # of the language model, and its embedding
    language_steps: int
    batch_size: int = 64
    learning_rate: float = 1e-3  # of the classifier; it falls to 0 in a straight line
    language_rate: float = 4e-3  # the same, of the language model


def settings(profile: profiles.Profile) -> Settings:
    """The judges' sizes at a profile."""
    if profile.name == "smoke":
        return Settings(300, 32, 16, 150, 48, 200, 64, 6e-3, 1.5e-2)
    if profile.name == "small":
        return Settings(6000, 128, 100, 1900, 200, 2500)
    return Settings(10_000, 300, 500, 6000, 512, 4000)


def context(profile: profiles.Profile, dataset: str) -> results.Context:
    """What the judges' results share."""
    return results.Context(EXPERIMENT, CHAPTER, profile, FILES[dataset])


class Judges(NamedTuple):
    """A trained TextCNN and a trained LSTM language model; both give unknown words one marker, <unk>.

    A text without words counts as one unknown word.
    """

    vocabulary: Vocabulary
    classifier: TextCNN
    language_model: LanguageModel

    def classify(self, texts: Sequence[str]) -> Tensor:
        """P(positive) of each text, (N,) float64 on the CPU."""
        return self._each(texts, lambda t, n: torch.sigmoid(self.classifier(t, n).double()))

    def negative_log_likelihood(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """-log p of each text in nats, (N,) float64 on the CPU; its tokens (N,), </s> counted."""
        nats = self._each(texts, lambda t, n: self.language_model.nll(t, n).double())
        return nats, self._encode(texts).lengths - 1

    def _encode(self, texts: Sequence[str]) -> Corpus:
        return self.vocabulary.encode([t if t.split() else "<unk>" for t in texts])

    @torch.no_grad()
    def _each(self, texts: Sequence[str], judge: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        corpus, device = self._encode(texts), self.classifier.output.weight.device
        judged = torch.zeros(len(texts), dtype=torch.float64)
        for chosen in corpus.lengths.argsort().split(256):
            lengths = corpus.lengths[chosen]
            tokens = corpus.tokens[chosen, : int(lengths.max())]
            judged[chosen] = judge(tokens.to(device), lengths.to(device)).cpu()
        return judged


def judges(profile: profiles.Profile, dataset: str, seed: int = 0) -> Judges:
    """The judges of a data set: trained now, or from their finished or interrupted runs.

    Args:
        profile: Sizes and device.
        dataset: "yelp", "amazon" or "reviews".
        seed: Of weights, order and dropout.
    """
    s, device = settings(profile), profile.device
    held_out = text.load(dataset, "held_out")
    vocabulary = Vocabulary.build(held_out.texts, s.vocabulary)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = TextCNN(len(vocabulary), s.embedding, s.filters)
        language = LanguageModel(len(vocabulary), s.hidden, s.hidden, dropout=0.3)
    language.output.weight = language.embedding.weight  # one table for reading and writing
    corpus = vocabulary.encode(held_out.texts)
    vectors = text.word_vectors(corpus.tokens, len(vocabulary), s.embedding, seed)
    known = slice(vocabulary.first_word, None)
    with torch.no_grad():  # the classifier starts from the company that words keep
        classifier.embedding.weight[known] = 0.5 * vectors[known] / vectors[known].std()
    tokens, labels = corpus.tokens.to(device), held_out.labels.to(device, profile.dtype)

    def classifier_loss(model: nn.Module, i: Tensor, t: Tensor, generator) -> Tensor:
        logits = model(t, t.new_full((len(t),), t.shape[1]), generator)
        return functional.binary_cross_entropy_with_logits(logits, labels[i.to(device)])

    def language_loss(model: nn.Module, i: Tensor, t: Tensor, generator) -> Tensor:
        return model.nll(t, None, generator).sum() / (t.numel() - len(t))

    plans = {
        "classifier": (classifier, classifier_loss, s.classifier_steps, s.learning_rate),
        "language": (language, language_loss, s.language_steps, s.language_rate),
    }
    picks = text.length_batches(corpus.lengths, s.batch_size, seed)
    for name, (model, loss, steps, rate) in plans.items():
        steps = min(steps, MOST_EPOCHS * picks.steps_per_epoch)

        def batch(step: int, steps: int = steps, rate: float = rate) -> tuple:
            chosen = picks(step)
            t = tokens[chosen.to(device), : int(corpus.lengths[chosen[0]])]
            return chosen, t, rate * (1 - step / steps)

        model.to(device, profile.dtype)
        fit(
            _step(loss),
            batch,
            TrainingState(
                model,
                torch.optim.Adam(model.parameters(), lr=rate),
                torch.Generator(device).manual_seed(seed),
            ),
            steps,
            checkpoint=_work(profile) / f"judge-{dataset}-seed{seed}.{name}.safetensors",
            description=f"{dataset} {name} judge",
            progress=False,
        )
        model.eval().requires_grad_(False)
    return Judges(vocabulary, classifier, language)


def quality(profile: profiles.Profile, dataset: str, seed: int = 0) -> results.Result:
    """How good the judges are on sentences that people wrote.

    For "validation" and "test": accuracy, perplexity of both classes together, and the share of
    unknown words; each accuracy and perplexity with its interval over sentences.
    """

    def compute() -> tuple[dict, dict]:
        judge, values = judges(profile, dataset, seed), {}
        for split in ("validation", "test"):
            found = text.load(dataset, split)
            right = (judge.classify(found.texts) > 0.5) == found.labels.bool()
            nats, tokens = judge.negative_log_likelihood(found.texts)
            unknown = judge.vocabulary.encode(found.texts).n_unknown.sum() / (tokens - 1).sum()
            values[split] = {
                "accuracy": bootstrap(right.double())._asdict(),
                "perplexity": perplexity(nats, tokens)._asdict(),
                "unknown": float(unknown),
            }
        return values, {}

    name = f"judges-{dataset}-seed{seed}"
    return results.get(name, compute, context(profile, dataset), seed=seed)


def perplexity(nats: Tensor, tokens: Tensor, n_resamples: int = 2000, seed: int = 0) -> Interval:
    """exp(sum of nats / sum of tokens) of N sentences, with a bootstrap interval over them."""
    totals = torch.stack([nats, tokens.double()], 1)

    def value(chosen: Tensor) -> float:
        both = totals[chosen].sum(0)
        return float((both[0] / both[1]).exp())

    return _resampled(value, len(totals), n_resamples, seed)


class Content(NamedTuple):
    """Corpus BLEU-4 of N rewrites, 0 to 100, with bootstrap intervals over sentences."""

    source: Interval
    reference: Interval | None


def content(
    rewrites: Sequence[str],
    sources: Sequence[str],
    references: Sequence[str] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Content:
    """How much of the source, and of a person's rewrite, a rewrite keeps.

    Corpus BLEU-4 (Papineni et al. 2002) by sacrebleu, on words as they stand, with no smoothing.

    Args:
        rewrites: N sentences.
        sources: N sentences.
        references: N sentences, or None.
        n_resamples: Bootstrap samples of N sentences.
        seed: Of the bootstrap.

    Raises:
        ValueError: When the numbers of sentences differ, or there is none.
    """
    return Content(
        _bleu(rewrites, sources, n_resamples, seed),
        None if references is None else _bleu(rewrites, references, n_resamples, seed),
    )


def _bleu(rewrites: Sequence[str], targets: Sequence[str], n_resamples: int, seed: int) -> Interval:
    if len(rewrites) != len(targets) or not len(rewrites):
        raise ValueError(
            f"{len(rewrites)} rewrites of {len(targets)} sentences: want as many of both"
        )
    rows = []
    for rewrite, target in zip(rewrites, targets, strict=True):
        one = _BLEU.corpus_score([rewrite], [[target]])
        rows.append([*one.counts, *one.totals, one.sys_len, one.ref_len])
    counts = torch.tensor(rows, dtype=torch.float64)

    def value(chosen: Tensor) -> float:
        total = counts[chosen].sum(0).long().tolist()
        return _BLEU.compute_bleu(
            total[:4], total[4:8], total[8], total[9], smooth_method="none"
        ).score

    return _resampled(value, len(counts), n_resamples, seed)


def _resampled(
    value: Callable[[Tensor], float], n: int, n_resamples: int, seed: int, level: float = 0.95
) -> Interval:
    """A number of n sentences as a whole, with the spread that drawing them anew gives it."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [value(torch.randint(n, (n,), generator=generator)) for _ in range(n_resamples)]
    spread = torch.tensor(drawn, dtype=torch.float64)
    tail = (1 - level) / 2
    low, high = torch.quantile(spread, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(value(torch.arange(n)), float(spread.std()), low, high, n)


class WordSwap(NamedTuple):
    """The control that needs no network: words that speak for one class become words of the other.

    Attributes:
        table: For target 0 and for target 1, each word that speaks against it and the most similar
            word that speaks for it.
    """

    table: tuple[dict[str, str], dict[str, str]]

    def __call__(self, texts: Sequence[str], targets: Sequence[int] | Tensor) -> list[str]:
        """The texts (N) with their words swapped towards the target classes (N,)."""
        return [
            " ".join(self.table[int(y)].get(word, word) for word in t.split())
            for t, y in zip(texts, targets, strict=True)
        ]


def word_swap(
    training: Sentences,
    *,
    vocabulary_size: int = 5000,
    dim: int = 100,
    margin: float = 1.5,
    least: int = 10,
    seed: int = 0,
) -> WordSwap:
    """Learns the control from labelled sentences.

    A word speaks for a class when the log of the ratio of its frequencies in the two classes (one
    added to each count) is beyond the margin; similar is the cosine of PPMI vectors.

    Args:
        training: Sentences labelled 0 and 1.
        vocabulary_size: Words looked at, markers counted.
        dim: Of the word vectors.
        margin: Least log-odds, in nats.
        least: Words that come less often are left alone.
        seed: Of the word vectors.
    """
    vocabulary = Vocabulary.build(training.texts, vocabulary_size)
    tokens, size = vocabulary.encode(training.texts).tokens, len(vocabulary)
    counts = [
        torch.bincount(tokens[training.labels == y].flatten(), minlength=size).double() + 1
        for y in (0, 1)
    ]
    odds = (counts[1] / counts[1][4:].sum()).log() - (counts[0] / counts[0][4:].sum()).log()
    odds[(counts[0] + counts[1] - 2 < least) | (torch.arange(size) < vocabulary.first_word)] = 0.0
    vectors = text.word_vectors(tokens, size, min(dim, size - 5), seed)
    unit = functional.normalize(vectors, dim=1)
    table = []
    for sign in (-1, 1):
        against, towards = ((s * odds > margin).nonzero()[:, 0] for s in (-sign, sign))
        if len(against) and len(towards):
            nearest = towards[(unit[against] @ unit[towards].T).argmax(1)].tolist()
        else:
            nearest = against.tolist()
        pairs = zip(against.tolist(), nearest, strict=True)
        table.append({vocabulary.tokens[a]: vocabulary.tokens[b] for a, b in pairs})
    return WordSwap(tuple(table))


def _step(loss: Callable[..., Tensor]) -> Callable[[TrainingState, Any], dict[str, Tensor]]:
    def step(state: TrainingState, batch: tuple) -> dict[str, Tensor]:
        chosen, tokens, rate = batch
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        value = loss(state.model, chosen, tokens, state.generator)
        state.optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), 5.0)
        state.optimizer.step()
        return {"loss": value.detach()}

    return step


def _work(profile: profiles.Profile) -> Path:
    return results.work_folder() / CHAPTER / profile.name
