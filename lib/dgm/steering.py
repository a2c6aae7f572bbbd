"""A steering model of page size: the simplex of CP-VAE beside latents that keep the sentence.

Beyond the paper. One vector for a sentence loses the sentence when the model is small. Here the simplex says
what is to be said, and one Gaussian latent for each word of the masked source says with which words:

    v_t = W A relu(C x_t)                           votes of word t for the K vertices           (1)
    p   = softmax(sum_t v_t + b),   mu_1 = E' p,   z_1 ~ N(mu_1, diag s_1^2)                     (2)
    a_t = sum_k (p_k - w_k) v_tk                    what word t says against the weights w       (3)
    x~_t = <mask> where a_t > margin, else x_t                                                   (4)
    z_t ~ N(x~_t + f(x~_{t-4..t+4}), diag s_t^2)    one latent for each word left                (5)
    log p(y | z_1, z) = sum_t log p(y_t | y_<t, z_1, attention over z)                           (6)

The attention of step t prefers the places near t, and the place behind the latent that looks like y_{t-1}:
copying a phrase on costs nothing, and a phrase may move when another has grown. All that the decoder learns
of the source passes z_1 and z. The objective, with targets q on the simplex (a few labels, many guesses),

    L = -log p(x | z_1, z(x~)) + beta KL(z) + beta_1 KL(z_1) + lambda CE(q, p) + L_SREC + L_REG  (7)

is joined by the same with x~ made from the model's own rewrite of x (back-translation): there the words to
write are a person's and those to read are the model's, so a clumsy sentence teaches to write a good one.

References:
    Xu, Cheung, Cao, On Variational Learning of Controllable Representations for Text, 2020.
    Lample, Denoyer, Ranzato, Unsupervised Machine Translation Using Monolingual Corpora Only, 2018.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.nets.sentences import split_sentences
from dgm.nets.simplex import orthogonality_loss, simplex_mean, structured_reconstruction_loss
from dgm.precision import run_lstm
from dgm.sampling.beam import beam_search
from dgm.vae import reparameterise

NUMBER = "_num_"  # what the data have for every number
VERTICES = ("negative", "neither", "positive")
CONTEXT_WINDOW, REACH = 5, 8
MAX_WORDS, LONGER = 30, 5  # of a sentence that is read; how many more a rewrite may have
MARGINS = (100.0, 2.0, 1.0, 0.5, 0.2)  # the first masks nothing
MOST_GROWN = 2  # runs of masks that `disturb` lengthens in one sentence


class Reading(NamedTuple):
    """What the simplex block makes of B sentences of S words."""

    p: Tensor  # (B, K) barycentric weights
    logits: Tensor  # (B, K)
    votes: Tensor  # (B, S, K), equation (1); zero at padding
    query: Tensor  # (B, N)


class Memory(NamedTuple):
    """The latents of B masked sources, which the decoder attends to."""

    latents: Tensor  # (B, S, E)
    present: Tensor  # (B, S) bool
    kl: Tensor  # (B,) nats


class Terms(NamedTuple):
    """The named terms of equation (7), means over sentences, 0-d."""

    reconstruction: Tensor  # nats a sentence
    kl: Tensor
    simplex_kl: Tensor
    label: Tensor
    sparsity: Tensor  # absolute votes of a sentence, so that few words carry them
    structured: Tensor
    orthogonality: Tensor

    def loss(
        self,
        *,
        beta: float = 0.02,
        beta_simplex: float = 0.01,
        label: float = 3.0,
        sparsity: float = 0.03,
        structured: float = 0.1,
        orthogonality: float = 0.1,
    ) -> Tensor:
        """Equation (7), with these weights."""
        return (
            self.reconstruction
            + beta * self.kl
            + beta_simplex * self.simplex_kl
            + label * self.label
            + sparsity * self.sparsity
            + structured * self.structured
            + orthogonality * self.orthogonality
        )


class Rewrite(NamedTuple):
    """A sentence said differently."""

    text: str
    margin: float  # at which it was made
    agreement: float  # of the model's own reading with the weights, from 0 to 1
    log_prob: float  # nats


class SteeringModel(nn.Module):
    """Equations (1) to (6).

    Args:
        vocabulary: has pad, start, end, unknown, unknown_slots, mask, `encode` and `decode`, as
            `dgm.data.text.Vocabulary` with a mask; its unknown slots let unknown words pass through.
        embedding: E, width of word vectors and of the latents.
        hidden: of the decoder's LSTM.
        context: hidden units of f, and width of queries and keys.
        voters: hidden units of the votes.
        latent_dim: N, of the simplex block.
        alpha: squared length of a vertex.
        tokenise: what is typed -> words apart by spaces, numbers as they are, for the method `rewrite`.
    """

    def __init__(
        self,
        vocabulary,
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
        size, k = len(vocabulary), len(VERTICES)
        self.vocabulary, self.alpha, self.tokenise = vocabulary, alpha, tokenise
        self.n_vertices = k
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
        x = self.embedding(words) * present
        features = torch.relu(self.voters(x)) * present
        query = self.query(features)
        votes = functional.linear(query, self.weights.weight)
        logits = votes.sum(1) + self.weights.bias
        return Reading(torch.softmax(logits, -1), logits, votes, query.sum(1))

    def remember(self, source: Tensor, generator: torch.Generator | None = None) -> Memory:
        """Equation (5) for a masked source (B, S): samples of the latents, or means without a generator."""
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
        mean = memory.latents.sum(1) / count
        cell = self.initial(torch.cat([z1, mean], -1))
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
        """Equation (6): logits (B, T, V) of the words behind `previous` (B, T), and the LSTM's next state.

        Args:
            previous: y_{t-1} for T steps, the first of which is step `first`.
            z1: (B, N), or (B, T, N) to change it in mid-sentence.
            memory: of `remember`.
            state: of `start`, or of the call before.
            first: number of the first step.
            dropped: (B, T) bool, previous words hidden from the LSTM (word dropout).
        """
        x = self.embedding(previous)
        seen = x if dropped is None else x * ~dropped[..., None]
        if z1.ndim == 2:
            z1 = z1[:, None].expand(-1, x.shape[1], -1)
        both = torch.cat([seen, z1], -1)
        hidden, (h, c) = run_lstm(self.lstm, both, (state[0][None], state[1][None]))
        mixed = self._attend(hidden, x, memory, first) @ memory.latents
        out = self.output(torch.cat([hidden, z1], -1)) + mixed
        return functional.linear(out, self.embedding.weight, self.word_bias), (h[0], c[0])

    def _attend(self, hidden: Tensor, previous: Tensor, memory: Memory, first: int) -> Tensor:
        """Attention weights (B, T, S): by content, by distance, and by what stands to the left."""
        z, steps = memory.latents, hidden.shape[1]
        keys = self.attention_key(z)
        scores = self.attention_query(hidden) @ keys.mT / math.sqrt(keys.shape[-1])
        left = functional.pad(z, (0, 0, 1, 0))[:, :-1]
        scores = scores + self.by_match * (previous @ left.mT)
        place = torch.arange(z.shape[1], device=z.device)
        step = torch.arange(first, first + steps, device=z.device)
        distance = (place - step[:, None]).clamp(-REACH, REACH) + REACH
        scores = (scores + self.by_distance[distance]).float()
        scores = scores.masked_fill(~memory.present[:, None], -torch.inf)
        return torch.softmax(scores, -1).to(z.dtype)

    def rewrite(self, sentence: str, weights, *, switch_at: int | None = None, **options) -> str:
        """What somebody typed, rewritten sentence by sentence; takes what `rewrite` takes.

        A sentence of more than 30 words is rewritten in pieces, and one without a known word is left
        as it is. Numbers are copied as unknown words are.

        Raises:
            ValueError: no word, and what `rewrite` raises.
        """
        rewritten, start = [], 0
        for piece in split_sentences(self.tokenise(sentence).split(), MAX_WORDS):
            text = " ".join(piece)
            if self.vocabulary.encode([text]).known[0]:
                if switch_at is not None:
                    options["switch_at"] = max(0, switch_at - start)
                point = torch.as_tensor(weights)[None]
                text = rewrite(self, [text], point, invent_numbers=False, **options)[0].text
            rewritten.append(text)
            start += len(piece)
        return " ".join(rewritten)


def _windows(x: Tensor, size: int) -> Tensor:
    """(B, S, D) -> (B, S, size * D): each place with its neighbours, zero beyond the ends."""
    half, length = size // 2, x.shape[1]
    padded = functional.pad(x, (0, 0, half, half))
    return torch.cat([padded[:, i : i + length] for i in range(size)], -1)


def against(reading: Reading, weights: Tensor) -> Tensor:
    """Equation (3): (B, S), what each word says against the weights (B, K), or (B, S, K) a word."""
    wanted = weights if weights.ndim == 3 else weights[:, None]
    return ((reading.p[:, None] - wanted) * reading.votes).sum(-1)


def mask_source(words: Tensor, votes_against: Tensor, margin: Tensor, mask: int) -> Tensor:
    """Equation (4): words (B, S) with <mask> where the vote is above the margin (B,); padding votes zero."""
    return torch.where((votes_against > margin[:, None]) & (words != 0), mask, words)


def disturb(
    source: Tensor, mask: int, generator: torch.Generator, *, share: float, stretch: float
) -> Tensor:
    """Masks a share of the words at random, and lets runs of masks grow or shrink by one.

    Thereby the model learns that a mask is no promise of one word.

    Args:
        source: (B, S) masked sources, padded with 0.
        mask: id of <mask>.
        generator: of the noise.
        share: probability that a word is masked.
        stretch: probability that a run's first mask is doubled, and that a later one is dropped.

    Returns:
        (B, S'), padded with 0.
    """
    present = source != 0
    dice = torch.rand((2, *source.shape), generator=generator, device=source.device)
    source = torch.where(present & (dice[0] < share), mask, source)
    masked = source == mask
    later = masked & functional.pad(masked, (1, 0))[:, :-1]
    grown = masked & ~later & (dice[1] < stretch)
    # At most so many, so that the width is known without waiting for the device.
    grown &= grown.cumsum(1) <= MOST_GROWN
    copies = present.long() + grown.long() - (later & (dice[1] < stretch)).long()
    ends = copies.cumsum(1)
    width = source.shape[1] + MOST_GROWN
    place = torch.arange(width, device=source.device).repeat(len(source), 1)
    origin = torch.searchsorted(ends, place, right=True).clamp(max=source.shape[1] - 1)
    return torch.where(place < ends[:, -1:], source.gather(1, origin), 0)


def steering_objective(
    model: SteeringModel,
    words: Tensor,
    targets: Tensor,
    generator: torch.Generator,
    *,
    margins: tuple[float, float] = (0.2, 3.0),
    masked_share: float = 0.08,
    stretch: float = 0.15,
    dropped_share: float = 0.15,
    back_translated: float = 0.0,
) -> Terms:
    """The terms of equation (7) for one batch, with gradient.

    Args:
        model: in any mode; it has no dropout of its own.
        words: (B, S) sentences without start and end, padded with 0.
        targets: (B, K) where on the simplex each is held to be: one vertex for a labelled sentence.
        generator: of all noise, on the device of the words.
        margins: the margin of equation (4) is drawn between these, its logarithm evenly.
        masked_share: see `disturb`.
        stretch: see `disturb`.
        dropped_share: of the previous words, hidden from the LSTM.
        back_translated: share of the batch whose source is the model's own rewrite.
    """
    n, k = len(words), targets.shape[1]
    device = words.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    def draw_margins(count: int) -> Tensor:
        return margins[0] * (margins[1] / margins[0]) ** uniform(count)

    reading = model.read(words)
    label = -(targets * torch.log_softmax(reading.logits, -1)).sum(-1).mean()
    mean = simplex_mean(reading.p, model.vertices, validate=False)
    others = torch.randint(n, (n, 4), generator=generator, device=device)
    z1 = reparameterise(mean, model.simplex_logvar.expand_as(mean), generator)

    with torch.no_grad():
        # Words are masked as if another vertex were wanted, mostly the opposite one.
        leading = reading.p.argmax(1)
        anywhere = torch.randint(k, (n,), generator=generator, device=device)
        any_other = (uniform(n) < 0.2) | (leading == k // 2)
        wanted = torch.where(any_other, anywhere, k - 1 - leading)
        weights = functional.one_hot(wanted, k).to(reading.p.dtype)
        votes_against = against(reading, weights)
        split = round(n * back_translated)
        theirs = words[:split]
        if split:
            source = mask_source(
                theirs, votes_against[:split], draw_margins(split), model.vocabulary.mask
            )
            theirs = _greedy(model, source, weights[:split], words.shape[1] + 3)
            own = model.read(theirs)
            votes_own = against(own, reading.p[:split])
            theirs = mask_source(theirs, votes_own, draw_margins(split), model.vocabulary.mask)
        source = mask_source(
            words[split:], votes_against[split:], draw_margins(n - split), model.vocabulary.mask
        )
        if split:
            width = max(theirs.shape[1], source.shape[1])
            source = torch.cat([_widened(theirs, width), _widened(source, width)])
        source = disturb(
            source, model.vocabulary.mask, generator, share=masked_share, stretch=stretch
        )
    # Before torch 2.11 autocast would hand on the weights that it has cast without a gradient.
    torch.clear_autocast_cache()

    memory = model.remember(source, generator)
    log_likelihood = sentence_log_likelihood(
        model, words, z1, memory, dropped=uniform(n, words.shape[1] + 1) < dropped_share
    )
    simplex_kl = 0.5 * (
        mean.square().sum(-1).mean() + (model.simplex_logvar.expm1() - model.simplex_logvar).sum()
    )
    return Terms(
        -log_likelihood.mean(),
        memory.kl.mean(),
        simplex_kl,
        label,
        reading.votes.abs().sum((1, 2)).mean(),
        structured_reconstruction_loss(reading.query, mean, mean[others]),
        orthogonality_loss(model.vertices, model.alpha),
    )


def sentence_log_likelihood(
    model: SteeringModel,
    words: Tensor,
    z1: Tensor,
    memory: Memory,
    dropped: Tensor | None = None,
) -> Tensor:
    """log p(words, end | z_1, z), (B,) nats, for words (B, S) padded with 0."""
    vocabulary = model.vocabulary
    length = (words != vocabulary.pad).sum(1)
    previous = functional.pad(words, (1, 0), value=vocabulary.start)
    following = functional.pad(words, (0, 1), value=vocabulary.pad)
    following = following.scatter(1, length[:, None], vocabulary.end)
    logits, _ = model.decode(previous, z1, memory, model.start(z1, memory), dropped=dropped)
    nats = functional.cross_entropy(
        logits.flatten(0, 1).float(),
        following.flatten(),
        ignore_index=vocabulary.pad,
        reduction="none",
    )
    return -nats.view_as(following).sum(1)


def rewrite(
    model: SteeringModel,
    sentences: Sequence[str],
    weights: Tensor,
    *,
    margins: Sequence[float] = MARGINS,
    threshold: float = 0.5,
    **options,
) -> list[Rewrite]:
    """Sentences rewritten: the first change that the model itself reads as near enough to what is wanted.

    For one margin after the other the source is masked and decoded, until the agreement reaches the
    threshold; where it never does, the rewrite that agrees best is kept.

    Args:
        model: in any mode.
        sentences: B of them of at most 30 words, tokenised as the training text was.
        weights: (B, K) where on the simplex each shall be, rows not negative and summing to one.
        margins: from large (few words may change) to small (many).
        threshold: agreement that is enough.
        options: of `rewrite_at`.

    Raises:
        ValueError: no margin, a sentence without words or of more than 30, or weights that are no points
            of the simplex.
    """
    if not margins:
        raise ValueError("margins: want at least one")
    best = rewrite_at(model, sentences, weights, margins[0], **options)
    for margin in margins[1:]:
        left = [i for i, found in enumerate(best) if found.agreement < threshold]
        if not left:
            break
        chosen = {k: v[left] if isinstance(v, Tensor) else v for k, v in options.items()}
        again = rewrite_at(model, [sentences[i] for i in left], weights[left], margin, **chosen)
        for i, found in zip(left, again, strict=True):
            best[i] = better(best[i], found)
    return best


def better(one: Rewrite, other: Rewrite) -> Rewrite:
    """The other where it agrees more, by what rounding cannot explain."""
    return other if other.agreement > one.agreement + 1e-6 else one


@torch.no_grad()
def rewrite_at(
    model: SteeringModel,
    sentences: Sequence[str],
    weights: Tensor,
    margin: float,
    *,
    width: int = 1,
    switch_at: int | None = None,
    weights_after: Tensor | None = None,
    invent_numbers: bool = True,
) -> list[Rewrite]:
    """Sentences rewritten at one margin.

    Args:
        model: in any mode.
        sentences: as in `rewrite`.
        weights: as in `rewrite`.
        margin: of equation (4), nats.
        width: of the beam; 1 is greedy.
        switch_at: number of words after which the weights are `weights_after`.
        weights_after: (B, K).
        invent_numbers: whether the data's marker for a number may be written more often than it was read.
    """
    if isinstance(sentences, str) or not len(sentences):
        raise ValueError("sentences: want a list of at least one")
    device, vocabulary = model.vertices.device, model.vocabulary
    wanted = _points(weights, len(sentences), device)
    corpus = vocabulary.encode(sentences, MAX_WORDS)
    if corpus.truncated.any():
        longest = int(corpus.truncated.nonzero()[0])
        raise ValueError(
            f"sentence {longest} has more than {MAX_WORDS} words: cut it, or use the model's method rewrite"
        )
    words = corpus.tokens[:, 1:-1].to(device)
    words = words.masked_fill(words == vocabulary.end, vocabulary.pad)
    steps = words.shape[1] + LONGER
    schedule = wanted[:, None].repeat(1, steps, 1)  # (B, steps, K)
    if switch_at is not None:
        schedule[:, switch_at:] = _points(weights_after, len(sentences), device)[:, None]
    votes_against = against(model.read(words), schedule[:, : words.shape[1]])
    levels = torch.full((len(words),), margin, device=device)
    source = mask_source(words, votes_against, levels, vocabulary.mask)
    slots = torch.tensor([len(unknown) for unknown in corpus.unknown], device=device)
    # The last slot stands for several words, each of which can be written once.
    last = vocabulary.unknown_slots - 1
    scarce = {vocabulary.unknown + last: slots - last}
    number = vocabulary.id(NUMBER)
    if not invent_numbers and number != vocabulary.unknown:
        scarce[number] = (words == number).sum(1)
    made, log_prob = _decoded(model, source, schedule, slots, scarce, width)
    agreement = 1 - (model.read(made).p - schedule[:, -1]).abs().sum(1) / 2
    texts = (vocabulary.decode(m.tolist(), u) for m, u in zip(made, corpus.unknown, strict=True))
    numbers = zip(texts, agreement.tolist(), log_prob.tolist(), strict=True)
    return [Rewrite(text, margin, agrees, nats) for text, agrees, nats in numbers]


def _points(weights: Tensor, n: int, device: torch.device) -> Tensor:
    """Weights (n, K) checked, float32, on the device."""
    w = torch.as_tensor(weights, dtype=torch.float32, device=device)
    if w.shape != (n, len(VERTICES)):
        raise ValueError(f"weights must be ({n}, {len(VERTICES)}), got {tuple(w.shape)}")
    if not ((w >= 0).all() and ((w.sum(1) - 1).abs() < 1e-4).all()):
        raise ValueError("each row of weights must be 0 or more and sum to 1")
    return w


def _decoded(
    model: SteeringModel,
    source: Tensor,
    schedule: Tensor,
    slots: Tensor,
    scarce: dict[int, Tensor],
    width: int,
) -> tuple[Tensor, Tensor]:
    """Words (B, T), padded with 0, and their log-probability (B,), by beam search over the masked source.

    A sentence has at most scarce[v] (B,) words v.
    """
    vocabulary = model.vocabulary
    memory, n = model.remember(source), len(source)
    z1 = schedule @ model.vertices  # (B, steps, N)
    h, c = model.start(z1[:, 0], memory)
    # An unknown word can only come from the source.
    marker = torch.arange(vocabulary.unknown_slots, device=source.device)
    absent = torch.where(marker < slots[:, None], 0.0, -torch.inf)
    counted = torch.tensor([*scarce], device=source.device)
    left = torch.stack([*scarce.values()], 1)
    count = iter(range(schedule.shape[1]))

    def step(tokens: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        h, c, z1, latents, present, absent, left = state
        left = left - (tokens[:, None] == counted).long()
        t = next(count)
        here = Memory(latents, present, latents.new_zeros(()))
        logits, (h, c) = model.decode(tokens[:, None], z1[:, t], here, (h, c), first=t)
        logits = logits[:, 0].float()
        logits[:, vocabulary.unknown : vocabulary.unknown + vocabulary.unknown_slots] += absent
        if t == 0:
            logits[:, vocabulary.end] = -torch.inf
        log_probs = torch.log_softmax(logits, -1)
        log_probs[:, counted] = log_probs[:, counted].masked_fill(left < 1, -torch.inf)
        return log_probs, (h, c, z1, latents, present, absent, left)

    found = beam_search(
        step,
        (h, c, z1, memory.latents, memory.present, absent, left),
        n,
        width=width,
        max_steps=schedule.shape[1],
        start=vocabulary.start,
        end=vocabulary.end,
        pad=vocabulary.pad,
        forbidden=(vocabulary.pad, vocabulary.start, vocabulary.mask),
    )
    words = found.tokens[:, 0]
    return words.masked_fill(words == vocabulary.end, vocabulary.pad), found.log_prob[:, 0]


def _greedy(model: SteeringModel, source: Tensor, weights: Tensor, max_words: int) -> Tensor:
    """The most probable words one by one, (B, T), padded with 0; never a mask, always at least one word."""
    vocabulary = model.vocabulary
    z1, memory = weights @ model.vertices, model.remember(source)
    state = model.start(z1, memory)
    last = torch.full((len(source), 1), vocabulary.start, device=source.device)
    done = torch.zeros_like(last, dtype=torch.bool)
    made = []
    for step in range(max_words):
        logits, state = model.decode(last, z1, memory, state, first=step)
        logits[..., [vocabulary.pad, vocabulary.start, vocabulary.mask]] = -torch.inf
        if step == 0:
            logits[..., vocabulary.end] = -torch.inf
        last = logits.argmax(-1)
        done = done | (last == vocabulary.end)
        made.append(last.masked_fill(done, vocabulary.pad))
    return torch.cat(made, 1)


def _widened(words: Tensor, width: int) -> Tensor:
    return functional.pad(words, (0, width - words.shape[1]))
