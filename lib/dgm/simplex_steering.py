"""A steering model of page size: the simplex of CP-VAE beside latents that keep the sentence.

Beyond the paper. The simplex says what is to be said, and one Gaussian latent for each word of the
masked source says with which words:

    v_t = W A relu(C x_t)                           votes of word t for the K vertices           (1)
    p   = softmax(sum_t v_t + b),   mu_1 = E' p,   z_1 ~ N(mu_1, diag s_1^2)                     (2)
    a_t = sum_k (p_k - w_k) v_tk                    what word t says against the weights w       (3)
    x~_t = <mask> where a_t > margin, else x_t                                                   (4)
    z_t ~ N(x~_t + f(x~_{t-4..t+4}), diag s_t^2)    one latent for each word left                (5)
    log p(y | z_1, z) = sum_t log p(y_t | y_<t, z_1, attention over z)                           (6)

They are `SteeringModel.read` (1, 2), `votes_against`, `mask_source`, `SteeringModel.remember` and
`sentence_log_likelihood`. The attention of step t prefers the places near t, and the place behind
the latent that looks like y_{t-1}: a phrase is copied on at no cost. The objective, with targets q
on the simplex,

    L = -log p(x | z_1, z(x~)) + beta KL(z) + beta_1 KL(z_1) + lambda CE(q, p) + L_SREC + L_REG  (7)

(`steering_objective`) is joined by the same with x~ made from the model's own rewrite of x, which
is back-translation (Lample, Denoyer, Ranzato, 2018).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.data.sentences import split_sentences
from dgm.nets.simplex import orthogonality_loss, simplex_mean, structured_reconstruction_loss
from dgm.precision import run_lstm
from dgm.vae import reparameterise

NUMBER = "_num_"  # what the data have for every number
N_VERTICES = 3  # negative, neither, positive
CONTEXT_WINDOW, REACH = 5, 8
MAX_WORDS, LONGER = 30, 5  # of a sentence that is read; how many more a rewrite may have
MARGINS = (100.0, 2.0, 1.0, 0.5, 0.2)  # the first masks nothing
# In training margins are drawn between the first two, their logarithm evenly; see `corrupt_masks`.
LEAST_MARGIN, LARGEST_MARGIN, MASKED_SHARE, STRETCH, MAX_STRETCHED = 0.2, 3.0, 0.08, 0.15, 2
DROPPED_SHARE = 0.15  # of the previous words, hidden from the LSTM
LOSS_WEIGHTS = (1.0, 0.02, 0.01, 3.0, 0.03, 0.1, 0.1)  # of `Terms`, in their order


class Reading(NamedTuple):
    """Equations (1) and (2) for B sentences of S words."""

    p: Tensor  # (B, K) barycentric weights
    logits: Tensor  # (B, K)
    votes: Tensor  # (B, S, K), zero at padding
    query: Tensor  # (B, N)


class Memory(NamedTuple):
    """The latents of B masked sources, which the decoder attends to."""

    latents: Tensor  # (B, S, E)
    present: Tensor  # (B, S) bool
    kl: Tensor  # (B,) nats


class Terms(NamedTuple):
    """The named terms of equation (7), means over sentences, 0-d."""

    reconstruction: Tensor  # nats per sentence
    kl: Tensor
    simplex_kl: Tensor
    label: Tensor
    sparsity: Tensor  # absolute votes of a sentence, so that a small number of words carries them
    structured: Tensor
    orthogonality: Tensor

    def loss(self) -> Tensor:
        """Equation (7): the sum of the terms, with `LOSS_WEIGHTS`."""
        first, *others = (w * term for w, term in zip(LOSS_WEIGHTS, self, strict=True))
        return sum(others, first)


class Rewrite(NamedTuple):
    """A rewritten sentence."""

    text: str
    margin: float  # at which it was written
    agreement: float  # of the model's own reading with the weights, from 0 to 1


class SteeringModel(nn.Module):
    """Equations (1) to (6), for a `dgm.data.text.Vocabulary` with a mask.

    `embedding` is E, the width of words and latents; `hidden` that of the decoder's LSTM, `context`
    that of f, queries and keys, `voters` that of the votes; `latent_dim` is N. `tokenise` is for
    `rewrite`.
    """

    def __init__(
        self,
        vocabulary: Any,
        *,
        embedding: int = 128,
        hidden: int = 256,
        context: int = 128,
        voters: int = 96,
        latent_dim: int = 16,
        alpha: float = 10.0,
        tokenise: Callable[[str], str] = str.lower,
    ) -> None:
        super().__init__()
        if vocabulary.mask is None:
            raise ValueError("the vocabulary needs a <mask>: build it with mask=True")
        size, k = len(vocabulary), N_VERTICES
        self.vocabulary, self.alpha, self.tokenise = vocabulary, alpha, tokenise
        self.embedding = nn.Embedding(size, embedding)
        self.voters = nn.Linear(embedding, voters)
        self.query = nn.Linear(voters, latent_dim, bias=False)
        self.weights = nn.Linear(latent_dim, k)
        self.vertices = nn.Parameter(torch.randn(k, latent_dim) / 2)
        self.simplex_logvar = nn.Parameter(torch.full((latent_dim,), -2.0))
        self.near = nn.Linear(CONTEXT_WINDOW * embedding, context)
        self.far = nn.Linear(CONTEXT_WINDOW * context, context)
        self.shift = nn.Linear(context, embedding)
        self.logvar = nn.Linear(context, embedding)
        self.initial = nn.Linear(latent_dim + embedding, hidden)
        self.lstm = nn.LSTM(embedding + latent_dim, hidden, batch_first=True)
        self.attention_query = nn.Linear(hidden, context, bias=False)
        self.attention_key = nn.Linear(embedding, context, bias=False)
        self.by_distance = nn.Parameter(-0.7 * torch.arange(-REACH, REACH + 1).abs().float())
        self.by_match = nn.Parameter(torch.ones(()))
        self.output = nn.Linear(hidden + latent_dim, embedding)
        self.word_bias = nn.Parameter(torch.zeros(size))
        nn.init.normal_(self.embedding.weight, 0, 0.1)
        nn.init.constant_(self.logvar.bias, -4.0)

    def read(self, words: Tensor) -> Reading:
        """Equations (1) and (2) for words (B, S), padded, without start and end."""
        present = (words != self.vocabulary.pad)[..., None]
        features = torch.relu(self.voters(self.embedding(words) * present)) * present
        query = self.query(features)
        votes = functional.linear(query, self.weights.weight)
        logits = votes.sum(1) + self.weights.bias
        return Reading(torch.softmax(logits, -1), logits, votes, query.sum(1))

    def remember(self, source: Tensor, generator: torch.Generator | None = None) -> Memory:
        """Equation (5) for a masked source (B, S): samples, or means without a generator."""
        present = source != self.vocabulary.pad
        inside = present[..., None]
        x = self.embedding(source) * inside
        h = torch.relu(self.near(_windows(x, CONTEXT_WINDOW))) * inside
        h = (h + torch.relu(self.far(_windows(h, CONTEXT_WINDOW)))) * inside
        mu, logvar = x + self.shift(h), self.logvar(h).clamp(-9, 3)
        z = mu if generator is None else reparameterise(mu, logvar, generator)
        kl = 0.5 * ((mu.square() + logvar.expm1() - logvar) * inside).sum((1, 2))
        return Memory(z * inside, present, kl)

    def start(self, z1: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """The LSTM's state before the first word: hidden and cell, each (B, H)."""
        count = memory.present.sum(1, keepdim=True).clamp(min=1)
        cell = self.initial(torch.cat([z1, memory.latents.sum(1) / count], -1))
        return torch.tanh(cell), cell

    def decode(
        self,
        previous: Tensor,
        z1: Tensor,
        memory: Memory,
        state: tuple[Tensor, Tensor],
        first: int = 0,
        dropped: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Equation (6): logits (B, T, V) of what follows `previous` (B, T) from step `first` on."""
        x = self.embedding(previous)
        inputs = x if dropped is None else x * ~dropped[..., None]
        if z1.ndim == 2:
            z1 = z1[:, None].expand(-1, x.shape[1], -1)
        inputs = torch.cat([inputs, z1], -1)
        hidden, (h, c) = run_lstm(self.lstm, inputs, (state[0][None], state[1][None]))
        # Attention weights (B, T, S): by content, by what stands to the left, and by distance.
        z = memory.latents
        keys = self.attention_key(z)
        scores = self.attention_query(hidden) @ keys.mT / math.sqrt(keys.shape[-1])
        left = functional.pad(z, (0, 0, 1, 0))[:, :-1]
        scores = scores + self.by_match * (x @ left.mT)
        place = torch.arange(z.shape[1], device=z.device)
        step = torch.arange(first, first + x.shape[1], device=z.device)
        distance = (place - step[:, None]).clamp(-REACH, REACH) + REACH
        scores = (scores + self.by_distance[distance]).float()
        scores = scores.masked_fill(~memory.present[:, None], -torch.inf)
        mixed = torch.softmax(scores, -1).to(z.dtype) @ z
        out = self.output(torch.cat([hidden, z1], -1)) + mixed
        return functional.linear(out, self.embedding.weight, self.word_bias), (h[0], c[0])

    def rewrite(
        self, sentence: str, weights: Any, *, switch_at: int | None = None, **options: Any
    ) -> str:
        """What somebody typed, rewritten in pieces of 30 words, with the options of `rewrite`."""
        texts, start = [], 0
        for piece in split_sentences(self.tokenise(sentence).split(), MAX_WORDS):
            text = " ".join(piece)
            if self.vocabulary.encode([text]).n_unknown[0] < len(piece):
                if switch_at is not None:
                    options["switch_at"] = max(0, switch_at - start)
                point = torch.as_tensor(weights)[None]
                text = rewrite(self, [text], point, invent_numbers=False, **options)[0].text
            texts.append(text)
            start += len(piece)
        return " ".join(texts)


def strip_ends(tokens: Tensor, vocabulary: Any) -> Tensor:
    """(N, L) ids with start and end -> (N, L - 2) words alone, padded."""
    words = tokens[:, 1:-1]
    return words.masked_fill(words == vocabulary.end, vocabulary.pad)


def _windows(x: Tensor, size: int) -> Tensor:
    """(B, S, D) -> (B, S, size * D): each place with its neighbours, zero beyond the ends."""
    half, length = size // 2, x.shape[1]
    padded = functional.pad(x, (0, 0, half, half))
    return torch.cat([padded[:, i : i + length] for i in range(size)], -1)


def votes_against(reading: Reading, weights: Tensor) -> Tensor:
    """Equation (3): (B, S), each word's votes against weights (B, K), or (B, S, K) per word."""
    weights = weights if weights.ndim == 3 else weights[:, None]
    return ((reading.p[:, None] - weights) * reading.votes).sum(-1)


def mask_source(words: Tensor, votes: Tensor, margin: Tensor, mask: int) -> Tensor:
    """Equation (4): words (B, S) with <mask> where votes against are above the margin (B,)."""
    return torch.where((votes > margin[:, None]) & (words != 0), mask, words)


def corrupt_masks(
    source: Tensor, mask: int, generator: torch.Generator, *, share: float, stretch: float
) -> Tensor:
    """Masks a share of the words (B, S), and lets runs of masks grow or shrink by one: (B, S')."""
    present = source != 0
    dice = torch.rand((2, *source.shape), generator=generator, device=source.device)
    source = torch.where(present & (dice[0] < share), mask, source)
    masked = source == mask
    later = masked & functional.pad(masked, (1, 0))[:, :-1]
    doubled = masked & ~later & (dice[1] < stretch)
    # At most so many, so that the width is known without waiting for the device.
    doubled &= doubled.cumsum(1) <= MAX_STRETCHED
    copies = present.long() + doubled.long() - (later & (dice[1] < stretch)).long()
    ends = copies.cumsum(1)
    width = source.shape[1] + MAX_STRETCHED
    place = torch.arange(width, device=source.device).repeat(len(source), 1)
    origin = torch.searchsorted(ends, place, right=True).clamp(max=source.shape[1] - 1)
    return torch.where(place < ends[:, -1:], source.gather(1, origin), 0)


def steering_objective(
    model: SteeringModel,
    words: Tensor,
    targets: Tensor,
    generator: torch.Generator,
    *,
    back_translated: float = 0.0,
) -> Terms:
    """The terms of equation (7) for one batch, with gradient, for a model in any mode.

    Words (B, S) are padded with 0, targets (B, K); sources of the share `back_translated` are
    rewrites.
    """
    n, device = len(words), words.device
    reading = model.read(words)
    label = -(targets * torch.log_softmax(reading.logits, -1)).sum(-1).mean()
    mean = simplex_mean(reading.p, model.vertices, validate=False)
    others = torch.randint(n, (n, 4), generator=generator, device=device)
    z1 = reparameterise(mean, model.simplex_logvar.expand_as(mean), generator)
    source = _training_source(model, words, reading, generator, round(n * back_translated))
    # Before torch 2.11 autocast would hand on the weights that it has cast without a gradient.
    torch.clear_autocast_cache()

    memory = model.remember(source, generator)
    dice = torch.rand((n, words.shape[1] + 1), generator=generator, device=device)
    nats = sentence_log_likelihood(model, words, z1, memory, dropped=dice < DROPPED_SHARE)
    logvar, sparsity = model.simplex_logvar, reading.votes.abs().sum((1, 2)).mean()
    simplex_kl = 0.5 * (mean.square().sum(-1).mean() + (logvar.expm1() - logvar).sum())
    structured = structured_reconstruction_loss(reading.query, mean, mean[others])
    orthogonality = orthogonality_loss(model.vertices, model.alpha)
    terms = -nats.mean(), memory.kl.mean(), simplex_kl, label, sparsity
    return Terms(*terms, structured, orthogonality)


@torch.no_grad()
def _training_source(
    model: SteeringModel, words: Tensor, reading: Reading, generator: torch.Generator, split: int
) -> Tensor:
    """Words (B, S), the first `split` rewritten, masked as if another vertex were the target."""
    n, k, mask = len(words), reading.p.shape[1], model.vocabulary.mask

    def uniform(count: int) -> Tensor:
        return torch.rand(count, generator=generator, device=words.device)

    def masked(sentences: Tensor, votes: Tensor) -> Tensor:
        margin = LEAST_MARGIN * (LARGEST_MARGIN / LEAST_MARGIN) ** uniform(len(sentences))
        return mask_source(sentences, votes, margin, mask)

    leading = reading.p.argmax(1)
    anywhere = torch.randint(k, (n,), generator=generator, device=words.device)
    any_vertex = (uniform(n) < 0.2) | (leading == k // 2)
    vertex = torch.where(any_vertex, anywhere, k - 1 - leading)
    weights = functional.one_hot(vertex, k).to(reading.p.dtype)
    votes = votes_against(reading, weights)
    if not split:
        source = masked(words, votes)
    else:
        source = masked(words[:split], votes[:split])
        z1 = weights[:split] @ model.vertices
        rewritten = _write(model, source, z1, words.shape[1] + 3)
        votes_back = votes_against(model.read(rewritten), reading.p[:split])
        parts = masked(rewritten, votes_back), masked(words[split:], votes[split:])
        width = max(part.shape[1] for part in parts)
        source = torch.cat([functional.pad(p, (0, width - p.shape[1])) for p in parts])
    return corrupt_masks(source, mask, generator, share=MASKED_SHARE, stretch=STRETCH)


def sentence_log_likelihood(
    model: SteeringModel, words: Tensor, z1: Tensor, memory: Memory, dropped: Tensor | None = None
) -> Tensor:
    """Equation (6) for words (B, S) padded with 0 and their end: (B,) nats."""
    vocabulary = model.vocabulary
    length = (words != vocabulary.pad).sum(1)
    previous = functional.pad(words, (1, 0), value=vocabulary.start)
    following = functional.pad(words, (0, 1), value=vocabulary.pad)
    following = following.scatter(1, length[:, None], vocabulary.end)
    logits, _ = model.decode(previous, z1, memory, model.start(z1, memory), dropped=dropped)
    logits, labels = logits.flatten(0, 1).float(), following.flatten()
    nats = functional.cross_entropy(logits, labels, ignore_index=vocabulary.pad, reduction="none")
    return -nats.view_as(following).sum(1)


def rewrite(
    model: SteeringModel,
    sentences: Sequence[str],
    weights: Tensor,
    *,
    margins: Sequence[float] = MARGINS,
    threshold: float = 0.5,
    **options: Any,
) -> list[Rewrite]:
    """Sentences rewritten: the first change that the model itself reads as near enough.

    B sentences of at most 30 words are masked and decoded for one margin after the other, from
    large to small, until their agreement with the weights (B, K) reaches the threshold, or else the
    best is returned. ValueError for no margin, no words or too many, and weights off the simplex.
    """
    if not margins:
        raise ValueError("margins: want at least one")
    best, rewrites = [], []
    for margin in margins:
        rewrites.append(rewrite_at(model, sentences, weights, margin, **options))
        best = first_agreeing(rewrites, threshold)
        if all(result.agreement >= threshold for result in best):
            break
    return best


def first_agreeing(rewrites: list[list[Rewrite]], threshold: float) -> list[Rewrite]:
    """Of each sentence's rewrites, by margin, the first to reach the agreement, or the best."""
    chosen = []
    for results in zip(*rewrites, strict=True):
        best = results[0]
        for other in results:  # better by what rounding cannot explain
            best = other if other.agreement > best.agreement + 1e-6 else best
        chosen.append(next((r for r in results if r.agreement >= threshold), best))
    return chosen


@torch.no_grad()
def rewrite_at(
    model: SteeringModel,
    sentences: Sequence[str],
    weights: Tensor,
    margin: float,
    *,
    switch_at: int | None = None,
    weights_after: Tensor | None = None,
    invent_numbers: bool = True,
) -> list[Rewrite]:
    """Sentences rewritten at one margin of equation (4), in nats, with the most probable words.

    After `switch_at` words the weights are `weights_after` (B, K). Number markers may be invented.
    """
    if isinstance(sentences, str) or not len(sentences):
        raise ValueError("sentences: want a list of at least one")
    device, vocabulary = model.vertices.device, model.vocabulary
    target = _points(weights, len(sentences), device)
    corpus = vocabulary.encode(sentences)
    if corpus.lengths.max() > MAX_WORDS + 2:
        longest = int(corpus.lengths.argmax())
        advice = "cut it, or use the model's method rewrite"
        raise ValueError(f"sentence {longest} has more than {MAX_WORDS} words: {advice}")
    words = strip_ends(corpus.tokens.to(device), vocabulary)
    schedule = target[:, None].repeat(1, words.shape[1] + LONGER, 1)  # (B, steps, K)
    if switch_at is not None:
        schedule[:, switch_at:] = _points(weights_after, len(sentences), device)[:, None]
    votes = votes_against(model.read(words), schedule[:, : words.shape[1]])
    levels = torch.full((len(words),), margin, device=device)
    source = mask_source(words, votes, levels, vocabulary.mask)
    # Unknown words come from the source alone, and those of the last slot can be written once each.
    unknown = torch.tensor([len(texts) for texts in corpus.unknown], device=device)
    last = vocabulary.unknown_slots - 1
    supply = {vocabulary.unknown + i: torch.where(unknown > i, torch.inf, 0) for i in range(last)}
    supply[vocabulary.unknown + last] = unknown - last
    number = vocabulary.id(NUMBER)
    if not invent_numbers and number != vocabulary.unknown:
        supply[number] = (words == number).sum(1)
    written = _write(model, source, schedule @ model.vertices, schedule.shape[1], supply)
    agreement = 1 - (model.read(written).p - schedule[:, -1]).abs().sum(1) / 2
    rows = zip(written.tolist(), corpus.unknown, agreement.tolist(), strict=True)
    return [Rewrite(vocabulary.decode(ids, texts), margin, share) for ids, texts, share in rows]


def _points(weights: Any, n: int, device: torch.device) -> Tensor:
    """Weights (n, K) checked, float32, on the device."""
    w = torch.as_tensor(weights, dtype=torch.float32, device=device)
    if w.shape != (n, N_VERTICES):
        raise ValueError(f"weights must be ({n}, {N_VERTICES}), got {tuple(w.shape)}")
    if not ((w >= 0).all() and ((w.sum(1) - 1).abs() < 1e-4).all()):
        raise ValueError("each row of weights must be 0 or more and sum to 1")
    return w


def _write(
    model: SteeringModel, source: Tensor, z1: Tensor, max_words: int, supply: dict | None = None
) -> Tensor:
    """The most probable words one by one, (B, T), padded with 0; at most supply[v] (B,) words v."""
    vocabulary, memory = model.vocabulary, model.remember(source)
    state = model.start(z1 if z1.ndim == 2 else z1[:, 0], memory)
    last = torch.full((len(source), 1), vocabulary.start, device=source.device)
    done = torch.zeros_like(last, dtype=torch.bool)
    written = []
    for step in range(max_words):
        z = z1 if z1.ndim == 2 else z1[:, step]
        logits, state = model.decode(last, z, memory, state, first=step)
        logits[..., [vocabulary.pad, vocabulary.start, vocabulary.mask]] = -torch.inf
        if step == 0:
            logits[..., vocabulary.end] = -torch.inf
        for word, left in (supply or {}).items():
            logits[left < 1, :, word] = -torch.inf
        last = logits.argmax(-1)
        done = done | (last == vocabulary.end)
        written.append(last.masked_fill(done, vocabulary.pad))
        if supply is not None:
            supply = {word: left - (last[:, 0] == word).long() for word, left in supply.items()}
            if done.all():
                break
    return torch.cat(written, 1)
