"""Steers an attribute of a text: a rewriter's candidates, their scores, and which of them to show.

Each sentence x of a text is rewritten for weights w on the attribute's K vertices, such as five
grades of sentiment. A `dgm.nets.copying.CopyingTransformer` writes candidates y by beam search, and

    score(y) = a . [ log p(y | x, w) / words,  log p(y | x, w) - log p(y | x, w'),  agreement,
                     - words left out,  - words added,  - words said twice ]                     (1)

ranks them: w' is the vertex farthest from w, the agreement is that of a reader of the attribute
with w (`dgm.nets.graded_reader`; 0 without one), and only words that carry content but not the
attribute count as left out or added. A candidate is shown where numbers, names and locked words all
stay, log p(y | x, w) reaches a threshold, and the reader, or else the second part, finds it turned.
Otherwise the sentence stays as it is: an abstention, with its reason.
"""

import functools
import itertools
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgm import checkpoint
from dgm import published as published_results
from dgm.clauses import ClauseBank
from dgm.data import text as texts_of
from dgm.data.sentences import END_MARKS, split_sentences
from dgm.data.text import Vocabulary
from dgm.nets.copying import END, START, CopyingTransformer, Progress, Sizes
from dgm.nets.graded_reader import GradedReader
from dgm.sampling.beam import beam_search

WIDTH = 10  # of the beam
SENTENCES = 64  # decoded together
MAX_WORDS, LONGER = 30, 8  # of a sentence that is read; how many more a rewrite may have
SLOTS = 8  # markers of unknown words
LEAST_AGREEMENT = 0.5
TOO_BAD = "no rewrite was good enough"
MODELS = ("sentiment", "captions", "shakespeare")


class Scores(NamedTuple):
    """The parts of equation (1), and their weighted sum."""

    likelihood: float  # nats per word
    contrast: float  # nats, cut to -6 to 6
    agreement: float  # from -1 to 1
    left_out: float  # minus the number of words, as the next two
    added: float
    repeated: float
    total: float = 0.0


SCORE_WEIGHTS = (0.57, 0.15, 1.1, 1.45, 0.32, 0.92)  # a of equation (1)


class Rewrite(NamedTuple):
    """A text as it may be shown; spans are (first, end) of characters."""

    text: str
    changed: tuple[tuple[int, int], ...]  # in the text: what the source does not have
    removed: tuple[tuple[int, int], ...]  # in the source: what the text does not have
    scores: Scores  # means over the sentences that changed
    reason: str  # why it should not be shown; empty where it may


class Candidate(NamedTuple):
    """A sentence's rewrite, in the form of the data."""

    text: str
    scores: Scores
    reason: str


class RewritingModel(nn.Module):
    """A rewriter with its words, its reader, and what ranks its candidates.

    `vertices` names the K vertices of the attribute in the order of weights. `content` (V,) bool
    says of each word whether it carries content but not the attribute; unknown words do.
    """

    content: Tensor

    def __init__(
        self,
        vocabulary: Vocabulary,
        vertices: Sequence[str],
        rewriter: CopyingTransformer,
        reader: GradedReader | None = None,
        score_weights: Sequence[float] = SCORE_WEIGHTS,
        least_nats: float = -math.inf,
    ) -> None:
        super().__init__()
        if len(vertices) != rewriter.sizes.grades:
            raise ValueError(f"{len(vertices)} vertices for {rewriter.sizes.grades} grades")
        if vocabulary.unknown_slots != SLOTS:
            raise ValueError(f"the vocabulary has {vocabulary.unknown_slots} slots, want {SLOTS}")
        self.vocabulary, self.vertices = vocabulary, tuple(vertices)
        self.rewriter, self.reader = rewriter, reader
        self.score_weights, self.least_nats = tuple(score_weights), least_nats
        self.least_agreement = LEAST_AGREEMENT
        self.register_buffer("content", torch.ones(len(vocabulary), dtype=torch.bool))

    def rewrite(self, sentence: str, weights: Any) -> str:
        """The text (of any length) at weights (K,); see `steer`."""
        return rewrite_texts(self, [sentence], torch.as_tensor(weights)[None])[0][0].text


class CaptionModel:
    """Rewrites captions at weights on plain, romantic and humorous by a bank of clauses."""

    def __init__(self, bank: ClauseBank) -> None:
        self.bank, self.vertices = bank, bank.vertices

    def rewrite(self, sentence: str, weights: Any) -> str:
        """The text at weights (3,); see `steer`."""
        return self.rewrites([sentence], torch.as_tensor(weights)[None])[0][0].text

    def rewrites(
        self, typed: Sequence[str], weights: Tensor, *, count: int = 1
    ) -> list[list[Rewrite]]:
        """For each of N texts and its weights (N, 3) at most `count` rewrites, best first.

        What the first rewrites of a text have used is charged for in the texts after it.
        """
        used: Counter[str] = Counter()
        result = []
        for sentence, w in zip(typed, weights.double().tolist(), strict=True):
            words = plain_words(sentence)
            written = self.bank.written(words, w, count, used) if words else []
            rewrites = [
                as_typed(sentence, row, Scores(0, 0, score, 0, 0, 0, score), "")
                for row, score in written
            ]
            none = Rewrite(sentence, (), (), Scores(0, 0, 0, 0, 0, 0), "there is no word")
            result.append(list({r.text: r for r in rewrites}.values()) or [none])
        return result


def steer(model: Any, sentence: str, weights: Sequence[float] | Tensor) -> str:
    """Rewrites a text of one or more sentences at weights (K,), scaled to sum to one.

    What cannot be rewritten well stays as it is: `candidates` says why. The model is a
    `RewritingModel` or has the methods of one. ValueError for no word, or bad weights.
    """
    return model.rewrite(*checked(model, sentence, weights))


def candidates(
    model: Any,
    sentence: str,
    weights: Sequence[float] | Tensor,
    *,
    locked: Sequence[str] = (),
    count: int = 5,
) -> list[Rewrite]:
    """At most `count` rewrites of a text, best first; those to be shown come before the others.

    The k-th takes the k-th rewrite of every sentence, or its last. `locked` are words that stay.
    A text that cannot be changed comes back alone, with the reason. ValueError as `steer`.
    A `CaptionModel` serves as a model too: it keeps all words.
    """
    if count < 1:
        raise ValueError(f"count={count}: want 1 or more")
    sentence, w = checked(model, sentence, weights)
    if not isinstance(model, RewritingModel):
        return model.rewrites([sentence], w[None], count=count)[0]
    return rewrite_texts(model, [sentence], w[None], locked=locked, count=count)[0]


def load(name: str, device: str | torch.device = "cpu") -> Any:
    """A published model: "sentiment", "captions" or "shakespeare".

    All are a `RewritingModel` but captions, a `CaptionModel`. ValueError for another
    name; FileNotFoundError where it is not published here.
    """
    if name not in MODELS:
        raise ValueError(f"no model '{name}'; there are {', '.join(MODELS)}")
    for folder in published_results.folders("04_rewriter"):
        records = folder / "results.json"
        records = json.loads(records.read_text("utf-8")) if records.exists() else {}
        if published := records.get(f"{name}-seed0"):
            if bank := published["values"].get("bank"):
                return CaptionModel(ClauseBank(bank))
            tensors = checkpoint.load(folder / f"{name}-seed0.safetensors")
            return from_published(published["values"], tensors).to(device)
    raise FileNotFoundError(f"the model of '{name}' is not published in this copy of the book")


def from_published(values: dict[str, Any], tensors: dict[str, Tensor]) -> RewritingModel:
    """A model from its plain values and its int8 tensors with a scale per row."""
    vocabulary, sizes = Vocabulary(values["words"], SLOTS), Sizes(**values["sizes"])
    rewriter = CopyingTransformer(len(vocabulary), vocabulary.first_word, sizes, dropout=0.0)
    reader = values["reader"] and GradedReader(len(vocabulary), Sizes(**values["reader"]))
    options = values["score_weights"], values["least_nats"]
    model = RewritingModel(vocabulary, values["vertices"], rewriter, reader, *options)
    wide = {
        name: value.float() * tensors[f"{name}.scale"][:, None] if value.ndim > 1 else value
        for name, value in tensors.items()
        if not name.endswith(".scale")
    }
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.view(shapes[name]) for name, value in wide.items()})
    return model.eval().requires_grad_(False)


@torch.no_grad()
def rewrite_texts(
    model: RewritingModel,
    typed: Sequence[str],
    weights: Tensor,
    *,
    locked: Sequence[str] = (),
    count: int = 1,
) -> list[list[Rewrite]]:
    """For each of N texts and its weights (N, K), which sum to one, what `candidates` returns."""
    pieces = [(i, *row) for i, t in enumerate(typed) for row in pieces_of(model, t, locked)]
    ranked = rank(
        model,
        [piece for _, piece, _ in pieces],
        weights[[i for i, _, _ in pieces]],
        [names for _, _, names in pieces],
    )
    rows: list[list[tuple[str, list[Candidate]]]] = [[] for _ in typed]
    for (i, piece, _), row in zip(pieces, ranked, strict=True):
        rows[i].append((piece, row))
    known = [any(is_known(model.vocabulary, piece) for piece, _ in row) for row in rows]
    return [text_rewrites(*each, count) for each in zip(typed, rows, known, strict=True)]


def pieces_of(
    model: RewritingModel, typed: str, locked: Sequence[str] = ()
) -> list[tuple[str, list[str]]]:
    """The sentences of a text in the form of the data, each with its words that stay."""
    words, stay = plain_words(typed), {part for word in locked for part in plain_words(word)}
    stay |= set(names(typed, model.vocabulary))
    rows = split_sentences(words, MAX_WORDS) if words else []
    return [(" ".join(row), [word for word in row if word in stay]) for row in rows]


@torch.no_grad()
def rank(
    model: RewritingModel,
    sentences: Sequence[str],
    weights: Tensor,
    locked: Sequence[Sequence[str]] | None = None,
) -> list[list[Candidate]]:
    """Candidates of N sentences in the form of the data for weights (N, K), best first."""
    result: list[list[Candidate]] = [[] for _ in sentences]
    locked = locked or [()] * len(sentences)
    known = [i for i, s in enumerate(sentences) if is_known(model.vocabulary, s)]
    known.sort(key=lambda i: len(sentences[i].split()))
    for start in range(0, len(known), SENTENCES):
        rows = known[start : start + SENTENCES]
        written = _write(model, [sentences[i] for i in rows], weights[rows])
        flat = [
            (i, candidate, nats)
            for i, part in zip(rows, written, strict=True)
            for candidate, nats in part.items()
            if candidate != sentences[i] and stays(sentences[i], candidate, locked[i])
        ]
        if flat:
            chosen = [i for i, _, _ in flat]
            scored = score(
                model,
                [sentences[i] for i in chosen],
                weights[chosen],
                [candidate for _, candidate, _ in flat],
                torch.tensor([nats for _, _, nats in flat]),
            )
            for i, candidate in zip(chosen, scored, strict=True):
                result[i].append(candidate)
    return [sorted(row, key=lambda c: (bool(c.reason), -c.scores.total)) for row in result]


@torch.no_grad()
def score(
    model: RewritingModel,
    sources: Sequence[str],
    weights: Tensor,
    written: Sequence[str],
    nats: Tensor | None = None,
) -> list[Candidate]:
    """Equation (1) for N rewrites of sources at weights (N, K); nats (N,) where they are known."""
    nats = likelihood(model, sources, weights, written) if nats is None else nats
    contrast = (nats - likelihood(model, sources, opposite(weights), written)).clamp(-6, 6)
    values, scored = read(model, written), []
    goals = (weights.double().cpu() @ torch.arange(weights.shape[1]).double()).tolist()
    for i, (source, candidate) in enumerate(zip(sources, written, strict=True)):
        goal, value = goals[i], values[i]
        agreement = 0.0
        if model.reader is not None:
            sign = (goal > 2) - (goal < 2)
            agreement = math.tanh(sign * (value - 2)) if sign else -abs(value - 2)
        words = len(candidate.split()) + 1
        parts = (float(nats[i]) / words, float(contrast[i]), agreement)
        left_out, added, repeated = _changes(model, source, candidate)
        scores = Scores(*parts, -float(left_out), -float(added), -float(repeated))
        parts = zip(model.score_weights, scores[:-1], strict=True)
        scores = scores._replace(total=sum(w * part for w, part in parts))
        scored.append(Candidate(candidate, scores, _reason(model, scores, float(nats[i]), goal)))
    return scored


def _reason(model: RewritingModel, scores: Scores, nats: float, goal: float) -> str:
    if model.reader is not None:
        turned = scores.agreement > model.least_agreement * (1 if goal != 2 else -1)
    else:
        turned = scores.contrast > 0
    if not turned:
        return "it does not say what was asked"
    return "" if nats > model.least_nats else TOO_BAD


@torch.no_grad()
def likelihood(
    model: RewritingModel, sources: Sequence[str], weights: Tensor, written: Sequence[str]
) -> Tensor:
    """log p(y | x, w) (N,), in nats; a word that cannot be written counts about -20."""
    device, parts = model.content.device, []
    for i in range(0, len(written), SENTENCES):
        part = slice(i, i + SENTENCES)
        source = model.vocabulary.encode(sources[part], MAX_WORDS)
        rows = [
            torch.tensor([START, *_ids(model.vocabulary, y, unknown), END])
            for y, unknown in zip(written[part], source.unknown, strict=True)
        ]
        target = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        grade = weights[part].to(device, torch.float32)
        log_p = model.rewriter.log_likelihood(source.tokens.to(device), grade, target)
        parts.append(log_p.sum(1).cpu())
    return torch.cat(parts)


def opposite(weights: Tensor) -> Tensor:
    """For weights (N, K) the end of the row of vertices that is farther, one-hot (N, K)."""
    k = weights.shape[1]
    mean = weights.float() @ torch.arange(k, device=weights.device).float()
    vertex = torch.where(mean >= (k - 1) / 2, 0, k - 1)
    return nn.functional.one_hot(vertex, k).to(weights)


def stays(source: str, candidate: str, locked: Sequence[str]) -> bool:
    """Whether a candidate has the numbers of its source, all locked words, and no marker."""
    old, new = (Counter(sentence.split()) for sentence in (source, candidate))
    numbers = {w for w in (*old, *new) if w == "_num_" or any(c.isdigit() for c in w)}
    kept_numbers = all(old[w] == new[w] for w in numbers)
    return kept_numbers and all(old[w] <= new[w] for w in set(locked)) and "<unk>" not in candidate


def names(typed: str, vocabulary: Vocabulary) -> list[str]:
    """The words of a typed text that are names, in the form of the data.

    A word with one capital counts, but for "I" and the first of a sentence; that counts where the
    vocabulary does not know it, or another name or 's follows.
    """
    pieces = _pieces(typed)
    words, shown = [p.word for p in pieces], [typed[p.first : p.end] for p in pieces]
    capital = [w[:1].isupper() and w[1:] == w[1:].lower() and w != "I" for w in shown]
    starts = (*END_MARKS, "``", "''", "(", ":")
    first = [i == 0 or words[i - 1] in starts for i in range(len(words))]
    result = []
    for i, word in enumerate(words):
        after = i + 1 < len(words)
        follows = after and (words[i + 1] == "'s" or (capital[i + 1] and not first[i + 1]))
        unknown = vocabulary.id(word) == vocabulary.unknown
        if capital[i] and (not first[i] or unknown or follows):
            result.append(word)
    return result


def restore(source: str, words: Sequence[str]) -> list[str]:
    """A rewrite's words as the source has them typed, with the capitals of "I" and of sentences."""
    pieces, result = _pieces(source), list(words)
    if source == source.upper() != source.lower():
        return [word.upper() for word in result]
    for a, b in _in_both(pieces, words):
        result[b] = source[pieces[a].first : pieces[a].end]
    if source == source.lower():
        return result
    result = ["I" if word == "i" else word for word in result]
    start = True
    for i, word in enumerate(words):
        result[i] = result[i][:1].upper() + result[i][1:] if start else result[i]
        start = word in END_MARKS or (start and word in ("``", "("))
    return result


def joined(
    words: Sequence[str], shown: Sequence[str] | None = None, gaps: dict[int, str] | None = None
) -> tuple[str, list[tuple[int, int]]]:
    """Words as one types them, without spaces at marks, and where each stands (first, end).

    `shown` are the words with their capitals, `gaps` what stands before some of them.
    """
    line, places, glue = "", [], True
    for i, (word, typed) in enumerate(zip(words, shown or words, strict=True)):
        tight = word[0] in ".,!?;:)%" or word.startswith("'") or word.lower() == "n't"
        line += (gaps or {}).get(i, "" if glue or tight or not typed else " ")
        plain = typed.replace("``", '"').replace("''", '"')
        places.append((len(line), len(line) + len(plain)))
        line += plain
        glue = word in ("(", "$", "``")
    return line, places


def text_rewrites(
    source: str, rows: list[tuple[str, list[Candidate]]], known: bool, count: int
) -> list[Rewrite]:
    """The k-th candidates of a text's sentences together, for k below count."""
    if not any(row for _, row in rows):
        reason = "there is no word that the model knows" if rows else "there is no word"
        reason = TOO_BAD if known else reason
        return [Rewrite(source, (), (), Scores(0, 0, 0, 0, 0, 0), reason)]
    result: dict[str, Rewrite] = {}
    for k in range(count):
        chosen = [(piece, row[min(k, len(row) - 1)] if row else None) for piece, row in rows]
        good = [c for _, c in chosen if c and not c.reason]
        used = good or [c for _, c in chosen if c]
        words = [
            word for piece, c in chosen for word in (c.text if c in used and c else piece).split()
        ]
        scores = Scores(*torch.tensor([c.scores for c in used]).mean(0).tolist())
        rewrite = as_typed(source, words, scores, "" if good else used[0].reason)
        result.setdefault(rewrite.text, rewrite)
    if result and all(r.reason for r in result.values()):
        first = next(iter(result.values()))
        unchanged = Rewrite(source, (), (), first.scores, first.reason)
        return [unchanged, *result.values()][:count]
    return list(result.values())


def as_typed(source: str, words: Sequence[str], scores: Scores, reason: str) -> Rewrite:
    """A rewrite of words in the form of the data, with the source's capitals and spaces."""
    pieces, gaps = _pieces(source), {}
    stay = _in_both(pieces, words)
    for (a, b), (c, d) in itertools.pairwise(stay):
        if (c, d) == (a + 1, b + 1):
            gaps[d] = source[pieces[a].end : pieces[c].first]
    text, places = joined(words, restore(source, words), gaps)
    removed, changed, a, b = [], [], 0, 0
    for c, d in [*stay, (len(pieces), len(words))]:
        if c > a and pieces[c - 1].end > pieces[a].first:
            removed.append((pieces[a].first, pieces[c - 1].end))
        if d > b:
            changed.append((places[b][0], places[d - 1][1]))
        a, b = c + 1, d + 1
    return Rewrite(text, tuple(changed), tuple(removed), scores, reason)


class _Piece(NamedTuple):
    word: str  # in the form of the data
    first: int
    end: int


def _in_both(pieces: Sequence[_Piece], words: Sequence[str]) -> list[tuple[int, int]]:
    """Which pieces and words stay, in their order."""
    old = [piece.word for piece in pieces]
    blocks = SequenceMatcher(None, old, list(words), autojunk=False).get_matching_blocks()
    return [(block.a + i, block.b + i) for block in blocks for i in range(block.size)]


def _pieces(source: str) -> list[_Piece]:
    """The source's words and where they stand, for all their signs are in the form of the data."""
    form = functools.cache(lambda c: unicodedata.normalize("NFKD", "".join(plain_words(c))))
    places = [i for i, c in enumerate(source) for _ in form(c)]
    line, result, start = "".join(map(form, source)), [], 0
    for word in plain_words(source):
        signs = unicodedata.normalize("NFKD", word.replace("``", "''"))
        first = line.find(signs, start)
        if first >= 0:
            start = first + len(signs)
            # Several words may stand for the same sign, such as those of a fraction.
            begin = max(places[first], result[-1].end if result else 0)
            result.append(_Piece(word, begin, places[start - 1] + 1))
    return result


def plain_words(typed: str) -> list[str]:
    """What is typed, as words in the form of the data."""
    return texts_of.tokenise(typed, keep_numbers=True).split()


def is_known(vocabulary: Vocabulary, sentence: str) -> bool:
    """Whether a sentence in the form of the data has a word of the vocabulary."""
    return any(vocabulary.id(w) != vocabulary.unknown and w.isalpha() for w in sentence.split())


def _ids(vocabulary: Vocabulary, sentence: str, unknown: Sequence[str]) -> list[int]:
    slots = {word: min(i, SLOTS - 1) for i, word in enumerate(unknown)}
    first = vocabulary.unknown
    ids = ((vocabulary.id(w), w) for w in sentence.split())
    # An unknown word that the source lacks cannot be written: <s> is as unlikely.
    return [i if i != first else first + slots[w] if w in slots else START for i, w in ids]


def _write(
    model: RewritingModel, sentences: Sequence[str], weights: Tensor
) -> list[dict[str, float]]:
    """The beam's sentences, and their log-probabilities in nats."""
    source = model.vocabulary.encode(sentences, MAX_WORDS)
    device, rewriter = model.content.device, model.rewriter
    memory = rewriter.encode(source.tokens.to(device), weights.to(device, torch.float32))
    most = (source.lengths + LONGER).clamp(max=rewriter.sizes.places - 1).to(device)
    ends = most.repeat_interleave(WIDTH)

    def step(tokens: Tensor, state: Progress) -> tuple[Tensor, Progress]:
        log_p, state = rewriter.step(tokens, state)
        # A short sentence ends as it does alone, whatever it is decoded with.
        return log_p.masked_fill((state.written.shape[1] > ends)[:, None], -math.inf), state

    start, steps = rewriter.start(memory), int(most.max())
    beams = beam_search(step, start, len(sentences), width=WIDTH, max_steps=steps)
    written: list[dict[str, float]] = [{} for _ in sentences]
    for i, row in enumerate(written):
        for tokens, nats in zip(beams.tokens[i], beams.log_prob[i].tolist(), strict=True):
            if math.isfinite(nats) and (tokens == END).any():
                candidate = model.vocabulary.decode(tokens, source.unknown[i])
                if candidate:
                    row.setdefault(candidate, nats)
    return written


def read(model: RewritingModel, written: Sequence[str]) -> list[float]:
    """What the reader says of sentences, from 0 to 4; 2 without a reader."""
    if model.reader is None:
        return [2.0] * len(written)
    tokens = model.vocabulary.encode(written).tokens
    return model.reader(tokens.to(model.content.device)).tolist()


def _changes(model: RewritingModel, source: str, candidate: str) -> tuple[int, int, int]:
    """How many content words are left out, added, and said twice."""
    old, new = Counter(source.split()), Counter(candidate.split())

    def content(word: str) -> bool:
        return word.isalpha() and bool(model.content[model.vocabulary.id(word)])

    left_out = sum(n for w, n in (old - new).items() if content(w))
    added = sum(n for w, n in (new - old).items() if content(w))
    words = candidate.split()
    twice = sum(n > 1 and n > old[w] and content(w) for w, n in new.items())
    twice += sum(a == b for a, b in itertools.pairwise(words))
    return left_out, added, twice


def checked(model: Any, sentence: str, weights: Any) -> tuple[str, Tensor]:
    """The sentence, and the weights (K,) scaled to sum to one; ValueError as `steer`."""
    if not isinstance(sentence, str) or not sentence.strip():
        raise ValueError(f"sentence must be text with at least one word, got {sentence!r}")
    w = torch.as_tensor(weights, dtype=torch.float64)
    k = len(model.vertices) if hasattr(model, "vertices") else w.numel()
    if w.shape != (k,):
        raise ValueError(f"want {k} weights, one per vertex, got shape {tuple(w.shape)}")
    if not (torch.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError(f"weights must be 0 or more, finite, not all 0: got {w.tolist()}")
    return sentence, w / w.sum()
