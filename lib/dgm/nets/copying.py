"""An encoder-decoder that rewrites a sentence to a grade, and copies what it leaves alone.

A transformer reads the source x with a grade g, and writes y word by word from a mixture of its
vocabulary and of the source's own words (a pointer; See, Liu, Manning 2017):

    p(y_t | y_<t, x, g) = (1 - c_t) softmax(E h_t + b)[y_t] + c_t sum_{s: x_s = y_t} a_ts      (1)
    a_t = softmax_s(q(h_t) . k(m_s) / sqrt(W) + u_1 [x_{s-1} = y_{t-1}]
                    + u_2 [x_{s-2}, x_{s-1} = y_{t-2}, y_{t-1}] + r_{s-t})                     (2)
    c_t = sigmoid(w . h_t + d)                                                                 (3)

h are the decoder's states and m the encoder's. The two learnt weights u say "go on where you copied
last", r "stay at the same place": without them a small model does not learn to copy. Unknown words
are markers (`dgm.data.text.Vocabulary` with slots), which the vocabulary's part never writes: they
come from the source alone. A grade is a mixture (G,) of G learnt vectors, so it may lie between
two.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dgm.nets.lstm import dropout

PAD, START, END = 0, 1, 2
REACH = 8  # beyond which a place is as far as any
IMPOSSIBLE = -1e4  # a logit, finite in half precision too


class Sizes(NamedTuple):
    """How large a model is; the defaults make 3.2 M parameters of 7,500 words."""

    width: int = 192
    heads: int = 6
    encoder_layers: int = 2
    decoder_layers: int = 2
    inner: int = 512
    grades: int = 5
    places: int = 48  # the longest sentence, with its start or end


PAGE = Sizes()


class Memory(NamedTuple):
    """What the decoder reads of R sources of S tokens; rows first, so that a beam may pick them."""

    source: Tensor  # (R, S) ids
    grade: Tensor  # (R, W)
    pointer: Tensor  # (R, S, W), the keys of equation (2)
    keys: Tensor  # (R, L, heads, S, W / heads), of the decoder's L layers
    values: Tensor  # (R, L, heads, S, W / heads)


class Progress(NamedTuple):
    """Memory and what has been written; the state of `CopyingTransformer.step`."""

    source: Tensor
    grade: Tensor
    pointer: Tensor
    keys: Tensor
    values: Tensor
    written: Tensor  # (R, t) ids
    own_keys: Tensor  # (R, L, heads, t, W / heads)
    own_values: Tensor  # (R, L, heads, t, W / heads)


class Attention(nn.Module):
    """Attention of several heads; memories are made once and read again."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.memory = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, S, W / heads) of x (B, S, W)."""
        keys, values = self.memory(x).chunk(2, -1)
        return self._split(keys), self._split(values)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """What x (B, T, W) attends to; the bias (B or 1, 1, T or 1, S) hides padding."""
        query = self._split(self.query(x))
        scores = query @ keys.transpose(-1, -2) / math.sqrt(query.shape[-1])
        weights = torch.softmax(scores + bias.to(scores), -1)
        return self.output((weights @ values).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Self-attention, in a decoder attention to the source, and two dense layers; norms first."""

    def __init__(self, sizes: Sizes, reads_source: bool) -> None:
        super().__init__()
        width = sizes.width
        self.own_norm, self.own = nn.LayerNorm(width), Attention(width, sizes.heads)
        if reads_source:
            self.cross_norm, self.cross = nn.LayerNorm(width), Attention(width, sizes.heads)
        self.dense_norm = nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, sizes.inner), nn.Linear(sizes.inner, width)

    def dense(self, x: Tensor) -> Tensor:
        """What the dense layers add to x (B, T, W)."""
        return self.outer(functional.gelu(self.inner(self.dense_norm(x))))


class CopyingTransformer(nn.Module):
    """Equations (1) to (3).

    Args:
        vocabulary_size: V, markers included.
        first_word: the id of the first word; what is below are <pad>, <s>, </s> and the markers of
            unknown words.
        sizes: of the layers.
        dropout: share of each layer's output set to zero where a generator is passed.
    """

    unwritten: Tensor  # (V,) bool: pad, start and the markers of unknown words

    def __init__(
        self, vocabulary_size: int, first_word: int, sizes: Sizes = PAGE, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if not END < first_word < vocabulary_size:
            raise ValueError(f"{first_word=}: want it above {END} and below {vocabulary_size=}")
        self.sizes, self.dropout, width = sizes, dropout, sizes.width
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.read_places = nn.Embedding(sizes.places, width)
        self.write_places = nn.Embedding(sizes.places, width)
        self.grades = nn.Embedding(sizes.grades, width)
        self.encoder: Any = nn.ModuleList(Layer(sizes, False) for _ in range(sizes.encoder_layers))
        self.decoder: Any = nn.ModuleList(Layer(sizes, True) for _ in range(sizes.decoder_layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.pointer_query = nn.Linear(width, width)
        self.pointer_key = nn.Linear(width, width)
        self.gate = nn.Linear(width, 1)
        self.follow = nn.Parameter(torch.tensor([4.0, 2.0]))  # u of equation (2)
        self.shift = nn.Parameter(torch.zeros(2 * REACH + 1))  # r
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        unwritten = torch.arange(vocabulary_size) < first_word
        unwritten[END] = False
        self.register_buffer("unwritten", unwritten, persistent=False)
        for table in (self.embedding, self.read_places, self.write_places, self.grades):
            nn.init.normal_(table.weight, std=0.05)

    def encode(self, source: Tensor, grade: Tensor, generator: Generator | None = None) -> Memory:
        """Reads source (B, S), each with <s> first and </s> last, for grades (B, G).

        Raises:
            ValueError: a source is longer than the places there are, or grade is not (B, G).
        """
        if source.shape[1] > self.sizes.places or grade.shape != (len(source), self.sizes.grades):
            raise ValueError(
                f"source {tuple(source.shape)}, grade {tuple(grade.shape)}: want (B, S) with S at "
                f"most {self.sizes.places}, and (B, {self.sizes.grades})"
            )
        grade = grade.to(self.grades.weight) @ self.grades.weight
        hidden = self._hidden(source)[:, None, None]
        x = self.embedding(source) + self.read_places.weight[: source.shape[1]] + grade[:, None]
        for layer in self.encoder:
            y = layer.own_norm(x)
            x = x + self._drop(layer.own(y, *layer.own.remember(y), hidden), generator)
            x = x + self._drop(layer.dense(x), generator)
        x = self.encoder_norm(x)
        remembered = [layer.cross.remember(x) for layer in self.decoder]
        keys, values = (torch.stack(part, 1) for part in zip(*remembered, strict=True))
        return Memory(source, grade, self.pointer_key(x), keys, values)

    def log_likelihood(
        self,
        source: Tensor,
        grade: Tensor,
        target: Tensor,
        generator: Generator | None = None,
        rivals: int | None = None,
    ) -> Tensor:
        """log p of target (B, T), <s> first and </s> last, token by token: (B, T - 1), float32.

        Zero at padding. A word that neither part can write counts as impossible, about -20 nats:
        leave such targets out of a loss. With `rivals` the softmax's sum is estimated from the
        batch's own words and so many others, drawn by the generator: cheaper to train with.
        """
        memory = self.encode(source, grade, generator)
        read, following = target[:, :-1], target[:, 1:]
        length = read.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=source.device).triu(1)
        x = self.embedding(read) + self.write_places.weight[:length] + memory.grade[:, None]
        hidden, later = self._hidden(source)[:, None, None], later * IMPOSSIBLE
        for i, layer in enumerate(self.decoder):
            y = layer.own_norm(x)
            x = x + self._drop(layer.own(y, *layer.own.remember(y), later), generator)
            y = layer.cross(layer.cross_norm(x), memory.keys[:, i], memory.values[:, i], hidden)
            x = x + self._drop(y, generator)
            x = x + self._drop(layer.dense(x), generator)
        x = self.decoder_norm(x)
        before = functional.pad(read, (1, 0))[:, :-1]
        places = torch.arange(length, device=source.device)
        pointed = torch.log_softmax(self._point(x, memory, read, before, places), -1)
        copied = torch.where(source[:, None] == following[..., None], pointed, -20.0).logsumexp(-1)
        inside = following != PAD
        x, goal, copied = x[inside], following[inside], copied[inside]
        words = None if rivals is None else self._drawn_words(goal, rivals, generator)
        written = self._written(x, goal, words)
        gate = self.gate(x)[:, 0].float()
        log_p = torch.logaddexp(
            functional.logsigmoid(-gate) + written.clamp(min=-20.0),
            functional.logsigmoid(gate) + copied,
        )
        return log_p.new_zeros(following.shape).masked_scatter(inside, log_p)

    def start(self, memory: Memory) -> Progress:
        """The state before the first token."""
        rows, layers, heads, _, size = memory.keys.shape
        empty = memory.keys.new_zeros(rows, layers, heads, 0, size)
        return Progress(*memory, memory.source.new_zeros(rows, 0), empty, empty)

    def step(self, tokens: Tensor, state: Progress) -> tuple[Tensor, Progress]:
        """Tokens (R,) -> log-probabilities (R, V) of the next ones, float32, and the state."""
        t = state.written.shape[1]
        if t >= self.sizes.places:
            raise ValueError(f"at most {self.sizes.places} tokens can be written")
        x = self.embedding(tokens) + self.write_places.weight[t] + state.grade
        x, hidden = x[:, None], self._hidden(state.source)[:, None, None]
        keys, values = [], []
        for i, layer in enumerate(self.decoder):
            y = layer.own_norm(x)
            key, value = layer.own.remember(y)
            keys.append(torch.cat([state.own_keys[:, i], key], 2))
            values.append(torch.cat([state.own_values[:, i], value], 2))
            x = x + layer.own(y, keys[-1], values[-1], x.new_zeros(()))
            y = layer.cross_norm(x)
            x = x + layer.cross(y, state.keys[:, i], state.values[:, i], hidden)
            x = x + layer.dense(x)
        x = self.decoder_norm(x)
        written = torch.cat([state.written, tokens[:, None]], 1)
        before = functional.pad(written, (1, 0))[:, -2:-1]
        place = torch.full((1,), t, device=tokens.device)
        pointed = self._point(x, Memory(*state[:5]), tokens[:, None], before, place)[:, 0]
        gate = self.gate(x[:, 0]).float()
        # 1 - sigmoid(gate) would be rounded to few digits, and make equal what is not.
        p = torch.sigmoid(-gate) * torch.softmax(self._words(x[:, 0]), -1)
        p = p.scatter_add(1, state.source, torch.sigmoid(gate) * torch.softmax(pointed, -1))
        state = Progress(*state[:5], written, torch.stack(keys, 1), torch.stack(values, 1))
        return p.clamp(min=1e-9).log().clamp(max=0), state

    def _hidden(self, source: Tensor) -> Tensor:
        """(B, S) what to add to a score: padding is not seen."""
        return (source == PAD) * IMPOSSIBLE

    def _words(self, x: Tensor) -> Tensor:
        bias = self.bias.masked_fill(self.unwritten, IMPOSSIBLE)
        return functional.linear(x, self.embedding.weight, bias).float()

    def _drawn_words(
        self, goal: Tensor, count: int, generator: Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Ids of the goals' words and of others, ascending, and the log of how many each is for."""
        needed = torch.zeros_like(self.unwritten)
        needed[goal] = True
        others = (~needed & ~self.unwritten).nonzero()[:, 0]
        pick = torch.randperm(len(others), generator=generator, device=goal.device)[:count]
        stands_for = torch.zeros(len(needed), device=goal.device)
        stands_for[others[pick]] = math.log(max(len(others), 1) / max(len(pick), 1))
        needed[others[pick]] = True
        words = needed.nonzero()[:, 0]
        return words, stands_for[words]

    def _written(self, x: Tensor, goal: Tensor, drawn: tuple[Tensor, Tensor] | None) -> Tensor:
        """Log-probability (N,) of goals in the softmax over all words, or over the drawn ones."""
        if drawn is None:
            return -functional.cross_entropy(self._words(x), goal, reduction="none")
        words, stands_for = drawn
        bias = self.bias.masked_fill(self.unwritten, IMPOSSIBLE)[words] + stands_for
        logits = functional.linear(x, self.embedding.weight[words], bias).float()
        place = torch.searchsorted(words, goal)
        return -functional.cross_entropy(logits, place, reduction="none")

    def _point(
        self, x: Tensor, memory: Memory, last: Tensor, before: Tensor, places: Tensor
    ) -> Tensor:
        """Equation (2)'s scores (B, T, S), float32, after the tokens `last` and `before` it."""
        source = memory.source
        scores = self.pointer_query(x) @ memory.pointer.transpose(1, 2)
        first = functional.pad(source, (1, 0), value=-1)[:, :-1]
        second = functional.pad(source, (2, 0), value=-1)[:, :-2]
        same = first[:, None] == last[..., None]
        pair = same & (second[:, None] == before[..., None])
        distance = torch.arange(source.shape[1], device=source.device) - 1 - places[:, None]
        shift = self.shift[distance.clamp(-REACH, REACH) + REACH]
        scores = scores.float() / math.sqrt(x.shape[-1])
        scores = scores + self.follow[0] * same + self.follow[1] * pair + shift
        return scores.masked_fill(((source == PAD) | (source == START))[:, None], IMPOSSIBLE)

    def _drop(self, x: Tensor, generator: Generator | None) -> Tensor:
        return dropout(x, self.dropout, generator)
