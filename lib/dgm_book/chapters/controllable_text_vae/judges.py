"""Judges of rewritten sentences: classifier, language model, BLEU, and a control without a network.

The judges learn from the held-out split alone, which no model that they judge has seen.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sacrebleu
import torch
from torch import Tensor
from torch.nn import functional

from dgm.data import text
from dgm.data.batches import length_batches
from dgm.data.text import Corpus, Sentences, Vocabulary
from dgm.measure import Interval, bootstrap
from dgm.nets.lstm import LSTMDecoder
from dgm.nets.text_cnn import TextCNN
from dgm_book.chapters.controllable_text_vae.recipe import JudgeRecipe
from dgm_book.chapters.controllable_text_vae.training import Plan, Setup, train

MAX_EPOCHS = 20  # a small set of sentences is not learnt by heart
LEAST_LOG_ODDS, LEAST_COUNT = 1.5, 10  # of a word that speaks for a class
_BLEU = sacrebleu.BLEU(tokenize="none", smooth_method="none", force=True)


class Judges(NamedTuple):
    """A trained TextCNN and a trained LSTM language model; unknown words are one marker, <unk>."""

    vocabulary: Vocabulary
    classifier: TextCNN
    language_model: LSTMDecoder
    recipe: JudgeRecipe

    def classify(self, texts: Sequence[str]) -> Tensor:
        """P(positive) of each text, (N,) float64 on the CPU."""
        return self._each(texts, lambda t, n: torch.sigmoid(self.classifier(t, n).double()))

    def negative_log_likelihood(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """-log p of each text in nats, (N,) float64 on the CPU; its tokens (N,) with </s>."""
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


def trained_judges(setup: Setup, dataset: str, seed: int = 0) -> Judges:
    """The judges of a data set: trained now, or from their finished or interrupted runs."""
    recipe, device, dtype = setup.recipe.judges, setup.profile.device, setup.profile.dtype
    held_out = text.load(dataset, "held_out")
    vocabulary = Vocabulary.build(held_out.texts, recipe.vocabulary)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = TextCNN(len(vocabulary), recipe.embedding, recipe.filters)
        language = LSTMDecoder(len(vocabulary), recipe.hidden, recipe.hidden, 0, dropout=0.3)
    language.output.weight = language.embedding.weight  # one table for reading and writing
    corpus = vocabulary.encode(held_out.texts)
    vectors = text.word_vectors(corpus.tokens, len(vocabulary), recipe.embedding, seed)
    known = slice(vocabulary.first_word, None)
    with torch.no_grad():  # the classifier starts from the company that words have
        classifier.embedding.weight[known] = 0.5 * vectors[known] / vectors[known].std()
    tokens, labels = corpus.tokens.to(device), held_out.labels.to(device, dtype)

    def classifier_loss(t: Tensor, chosen: Tensor, generator: torch.Generator, done: float) -> Any:
        logits = classifier(t, t.new_full((len(t),), t.shape[1]), generator)
        value = functional.binary_cross_entropy_with_logits(logits, labels[chosen])
        return value, {"loss": value}

    def language_loss(t: Tensor, chosen: Tensor, generator: torch.Generator, done: float) -> Any:
        value = language.nll(t, generator=generator).sum() / (t.numel() - len(t))
        return value, {"loss": value}

    epoch = length_batches(corpus.lengths, recipe.batch_size, seed).steps_per_epoch
    first = (classifier, classifier_loss, recipe.classifier_steps, recipe.classifier_rate)
    second = (language, language_loss, recipe.language_steps, recipe.language_rate)
    for name, (model, loss, steps, rate) in {"classifier": first, "language": second}.items():
        name, steps = f"judge-{dataset}-seed{seed}.{name}", min(steps, MAX_EPOCHS * epoch)
        plan = Plan(name, steps, recipe.batch_size, rate, lambda done: 1 - done, seed)
        train(model, plan, tokens, corpus.lengths, loss, setup.profile)
    return Judges(vocabulary, classifier, language, recipe)


def quality_values(setup: Setup, dataset: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """How good the judges are on people's sentences."""
    judges, sentences = trained_judges(setup, dataset), text.load(dataset, "test")
    right = (judges.classify(sentences.texts) > 0.5) == sentences.labels.bool()
    nats, tokens = judges.negative_log_likelihood(sentences.texts)
    n_resamples = judges.recipe.perplexity_resamples
    values = {
        "accuracy": bootstrap(right.double())._asdict(),
        "perplexity": perplexity(nats, tokens, n_resamples)._asdict(),
    }
    return {"test": values}, {}


def measure_rewrites(
    judges: Judges, rewrites: Sequence[str], sentences: Sentences
) -> dict[str, Any]:
    """Accuracy, content and fluency of rewrites to the opposite sentiment, with their intervals."""
    right = (judges.classify(rewrites) > 0.5) != sentences.labels.bool()
    nats, tokens = judges.negative_log_likelihood(rewrites)
    n_resamples, references = judges.recipe.bleu_resamples, sentences.references
    return {
        "accuracy": bootstrap(100.0 * right.double())._asdict(),
        "bleu_source": bleu(rewrites, sentences.texts, n_resamples)._asdict(),
        "bleu_reference": references and bleu(rewrites, references, n_resamples)._asdict(),
        "perplexity": perplexity(nats, tokens, judges.recipe.perplexity_resamples)._asdict(),
        "copies": sum(a == b for a, b in zip(rewrites, sentences.texts, strict=True)),
        "n": len(rewrites),
    }


def perplexity(nats: Tensor, tokens: Tensor, n_resamples: int = 2000) -> Interval:
    """exp(sum of nats / sum of tokens) of N sentences, with a bootstrap interval over them."""
    totals = torch.stack([nats, tokens.double()], 1)

    def value(chosen: Tensor) -> float:
        total = totals[chosen].sum(0)
        return float((total[0] / total[1]).exp())

    return _resampled(value, len(totals), n_resamples)


def bleu(rewrites: Sequence[str], targets: Sequence[str], n_resamples: int = 1000) -> Interval:
    """Corpus BLEU-4 of N sentences (Papineni et al. 2002), 0 to 100, with a bootstrap interval."""
    if len(rewrites) != len(targets) or not len(rewrites):
        counts = f"{len(rewrites)} rewrites of {len(targets)} sentences"
        raise ValueError(f"{counts}: want as many of each, at least one")
    scores = (_BLEU.corpus_score([a], [[b]]) for a, b in zip(rewrites, targets, strict=True))
    rows = [[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores]
    counts = torch.tensor(rows, dtype=torch.float64)

    def value(chosen: Tensor) -> float:
        total = counts[chosen].sum(0).long().tolist()
        sizes = total[:4], total[4:8], total[8], total[9]
        return _BLEU.compute_bleu(*sizes, smooth_method="none").score

    return _resampled(value, len(counts), n_resamples)


def _resampled(value: Callable[[Tensor], float], n: int, n_resamples: int) -> Interval:
    """A number of n sentences as a whole, with the spread that drawing them anew gives it."""
    generator = torch.Generator().manual_seed(0)
    draws = [value(torch.randint(n, (n,), generator=generator)) for _ in range(n_resamples)]
    spread = torch.tensor(draws, dtype=torch.float64)
    tail = (1 - 0.95) / 2
    low, high = torch.quantile(spread, spread.new_tensor([tail, 1 - tail])).tolist()
    return Interval(value(torch.arange(n)), float(spread.std()), low, high, n)


def swap_table(
    training: Sentences, vocabulary_size: int = 5000, dim: int = 100
) -> tuple[dict[str, str], dict[str, str]]:
    """The control that needs no network: words that speak for one class, by their counterparts.

    A word speaks for a class by the log-ratio of its frequencies; its counterpart is the most
    similar word of the other class, by the cosine of PPMI vectors. One table per target class.
    """
    vocabulary = Vocabulary.build(training.texts, vocabulary_size)
    tokens, size = vocabulary.encode(training.texts).tokens, len(vocabulary)
    counts = [
        torch.bincount(tokens[training.labels == y].flatten(), minlength=size).double() + 1
        for y in (0, 1)
    ]
    odds = (counts[1] / counts[1][4:].sum()).log() - (counts[0] / counts[0][4:].sum()).log()
    rare = counts[0] + counts[1] - 2 < LEAST_COUNT
    odds[rare | (torch.arange(size) < vocabulary.first_word)] = 0.0
    unit = functional.normalize(text.word_vectors(tokens, size, min(dim, size - 5)), dim=1)
    speakers = [(sign * odds > LEAST_LOG_ODDS).nonzero()[:, 0] for sign in (-1, 1)]

    def table(against: Tensor, towards: Tensor) -> dict[str, str]:
        if not len(against) or not len(towards):
            return {}
        nearest = towards[(unit[against] @ unit[towards].T).argmax(1)]
        pairs = zip(against.tolist(), nearest.tolist(), strict=True)
        return {vocabulary.tokens[a]: vocabulary.tokens[b] for a, b in pairs}

    return table(*speakers[::-1]), table(*speakers)


def swap_words(
    table: tuple[dict[str, str], dict[str, str]], texts: Sequence[str], targets: Tensor
) -> list[str]:
    """The texts (N) with their words swapped towards the target classes (N,)."""
    return [
        " ".join(table[y].get(word, word) for word in t.split())
        for t, y in zip(texts, targets.tolist(), strict=True)
    ]
