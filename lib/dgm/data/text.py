"""Sentences with labels, vocabularies with slots for unknown words, batches of equal length."""

import functools
import gzip
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.data import registry, synthetic


class Sentences(NamedTuple):
    """N sentences, words apart by one space; lower case, but for "ptb"'s N and "wikitext-2"."""

    texts: list[str]
    labels: Tensor  # (N,) int64: 0 negative, 1 positive; 0 without labels
    references: list[str] | None = None  # the same with the opposite sentiment, by a person


def load(name: str, split: str = "train") -> Sentences:
    """Loads a split of a set of sentences; same call, same sentences in the same order.

    - "yelp": reviews. "test" (1,000, with human rewrites) and "validation" (4,000) are those of Li
      et al. 2018. The four files of Shen et al. 2017 minus these, in a fixed random order, give
      "held_out" (40,000), for judges only, and "train". The published training set is larger.
    - "amazon": product reviews. "test" (1,000, with rewrites) is that of Li et al. 2018. Their
      2,000 dev sentences and the snippets of Hutto and Gilbert 2014 with a mean rating beyond
      +-0.5 give "validation" (500, of dev), "held_out" (1,200) and "train".
    - "ptb": Penn Treebank as Mikolov prepared it: no punctuation, a number is N, a rare word <unk>.
    - "wikitext-2": lines of Wikipedia articles; a blank line is "", an end of its own in published
      counts. The articles of "train" stand in another order than published.
    - "shakespeare": spoken lines of Tiny Shakespeare, 90 %, 5 % and 5 % in their order.
    - "reviews": the grammar of `dgm.data.synthetic`, for tests; references by rule.

    The split is "train", "validation", "test", or "held_out" (yelp, amazon and reviews). ValueError
    for an unknown name or split; other errors as `registry.fetch`.
    """
    if name not in _LOADERS:
        raise ValueError(f"no sentences '{name}'; there are {', '.join(_LOADERS)}")
    splits = [*SPLITS, *["held_out"] * (name in _WITH_HELD_OUT)]
    if split not in splits:
        raise ValueError(f"{name} has no split '{split}'; it has {', '.join(splits)}")
    pairs = _LOADERS[name](split)
    texts, references = [text for text, _ in pairs], None
    if name == "reviews":
        references = [synthetic.flip(text) for text in texts]
    elif split == "test" and name in _WITH_HELD_OUT:
        lines = [line for y in (0, 1) for line in _lines(f"{name}-li/reference.{y}.gz", tab="\t")]
        by_source = (line.split("\t") for line in lines)
        rewrites = {" ".join(s.split()): tokenise(rewrite, name) for s, rewrite in by_source}
        references = [rewrites[text] for text in texts]
    return Sentences(texts, torch.tensor([y for _, y in pairs]), references)


Pairs = list[tuple[str, int]]  # sentences with their labels
SPLITS = ("train", "validation", "test")
_WITH_HELD_OUT = ("yelp", "amazon", "reviews")
_REVIEWS = {"train": 4000, "held_out": 2000, "validation": 500, "test": 500}


def _yelp(split: str) -> Pairs:
    test, validation = _li("yelp", "test"), _li("yelp", "dev")
    if split in ("test", "validation"):
        return test if split == "test" else validation
    files = [f"yelp-shen/sentiment.{part}.{y}.gz" for part in ("dev", "test") for y in (0, 1)]
    pairs = [(text, i % 2) for i, path in enumerate(files) for text in _lines(path)]
    pairs = _shuffled(_without(pairs, test + validation))
    return _cut(pairs, {"held_out": 40_000}, split)


def _amazon(split: str) -> Pairs:
    dev, test = _shuffled(_li("amazon", "dev")), _li("amazon", "test")
    validation, pairs = dev[:500], dev[500:]
    if split in ("test", "validation"):
        return test if split == "test" else validation
    for line in _lines("vader-snippets/amazonReviewSnippets_GroundTruth.txt.gz", "latin-1", "\t"):
        _, rating, text = line.split("\t")
        if abs(float(rating)) > 0.5:
            pairs.append((tokenise(text, style="amazon"), int(float(rating) > 0)))
    pairs = _without([p for p in pairs if p[0]], test + validation)
    return _cut(_shuffled(pairs), {"held_out": 1_200}, split)


@functools.cache
def _distinct_reviews() -> Pairs:
    texts, sentiment, _ = synthetic.review_grammar(8000, 0)
    # Each sentence once, so that the splits are disjoint.
    return list(dict(zip(texts, sentiment.tolist(), strict=True)).items())


def _ptb(split: str) -> Pairs:
    lines = _raw_lines(f"ptb/ptb.{'valid' if split == 'validation' else split}.txt.gz")
    return [(text, 0) for line in lines if (text := " ".join(line.split()))]


def _wikitext(split: str) -> Pairs:
    part = {"train": "wiki.train.shuffled-articles", "validation": "valid"}.get(split, split)
    # What follows the last line's end is no line.
    return [(line.strip(), 0) for line in _raw_lines(f"wikitext-2/{part}.txt.gz")[:-1]]


def _shakespeare(split: str) -> Pairs:
    lines = map(str.strip, _raw_lines("tiny-shakespeare/input.txt.gz"))
    # The first line of a speech says who speaks.
    speeches = [list(speech)[1:] for spoken, speech in itertools.groupby(lines, bool) if spoken]
    ends = np.cumsum([0, *map(len, speeches)])
    parts = np.searchsorted([0.9, 0.95], ends[:-1] / ends[-1], "right")
    chosen = (speech for i, speech in enumerate(speeches) if SPLITS[parts[i]] == split)
    pairs = ((tokenise(line), 0) for speech in chosen for line in speech)
    return [pair for pair in pairs if pair[0]]


def _raw_lines(path: str, encoding: str = "utf-8") -> list[str]:
    with gzip.open(registry.fetch(path)) as file:
        return file.read().decode(encoding).split("\n")


def _lines(path: str, encoding: str = "utf-8", tab: str = "") -> list[str]:
    """The lines of a file that are not empty, in lower case; white space is one space, or a tab."""
    lines = (line.lower() for line in _raw_lines(path, encoding))
    lines = (line.strip() if tab else " ".join(line.split()) for line in lines)
    return [line for line in lines if line]


def _li(name: str, part: str) -> Pairs:
    files = (f"{name}-li/sentiment.{part}.{y}.gz" for y in (0, 1))
    return [(text, y) for y, path in enumerate(files) for text in _lines(path)]


def _shuffled(pairs: Pairs) -> Pairs:
    # RandomState's numbers are promised never to change.
    return [pairs[i] for i in np.random.RandomState(0).permutation(len(pairs))]


def _cut(pairs: Pairs, sizes: dict[str, int], split: str) -> Pairs:
    """One of consecutive parts; the last, which has no size, is without the sentences of others."""
    start = 0
    for part, n in sizes.items():
        if part == split:
            return pairs[start : start + n]
        start += n
    return _without(pairs[start:], pairs[:start])


def _without(pairs: Pairs, known: Pairs) -> Pairs:
    """The pairs whose sentence is not among the known ones, wherever its spaces stand."""
    spoken = {text.replace(" ", "") for text, _ in known}
    return [pair for pair in pairs if pair[0].replace(" ", "") not in spoken]


_LOADERS: dict[str, Callable[[str], Pairs]] = {
    "yelp": _yelp,
    "amazon": _amazon,
    "ptb": _ptb,
    "wikitext-2": _wikitext,
    "shakespeare": _shakespeare,
    "reviews": lambda split: _cut(_distinct_reviews(), _REVIEWS, split),
}


# Words as a reader types them

_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": " -- ", "…": "..."})
_NUMBER = re.compile(r"(?<!\S)\d+(?:[.,]\d+)*(?!\S)")
_WITH_DIGIT = re.compile(r"\S*\d\S*")


@functools.lru_cache(64)
def _patterns(marks: str) -> tuple[re.Pattern, ...]:
    """What splits a text into words; its combining marks, which `re` knows not, are letters."""
    w = rf"[\w{marks}]"
    pieces = (
        rf"_num_|``|''|\.\.+|--+|n't(?!{w})|'(?:s|ve|m|ll|re|d)(?!{w})|(?:dr|mr|mrs|ms|st)\.(?=\s)"
        rf"|w/(?!{w})|[abc]\+(?!{w})|\d+(?:[.,]\d+)+(?!{w})|{w}+(?:[-'./:]{w}+)*|[^\w\s{marks}]"
    )
    amazon_pieces = rf"\d+(?:[.,]\d+)+(?!{w})|{w}+|[.,!?:$%+]"
    halves = rf"(?<!{w})(?:(can)(not)|(gon|wan)(na))(?!{w})"
    ending = rf"(?<=[a-z])(n't|'(?:s|ve|m|ll|re|d))(?!{w})"
    return tuple(map(re.compile, (pieces, amazon_pieces, halves, ending)))


def tokenise(text: str, style: str = "yelp", keep_numbers: bool = False) -> str:
    """What a reader types, in the form of the data: lower case, words and marks apart by one space.

    Control characters vanish, an emoji becomes a word. The style "yelp" splits n't and 's and
    writes a number as _num_; "amazon" drops apostrophes and most marks, and writes a number as
    num_num, or num_extend when letters stick to it; with keep_numbers they stay as they are.
    ValueError for another style, or a text that is no string.
    """
    if not isinstance(text, str):
        raise ValueError(f"text is {type(text).__name__}: want a string")
    if style not in ("yelp", "amazon"):
        raise ValueError(f"style={style!r}: want 'yelp' or 'amazon'")
    text = unicodedata.normalize("NFKC", text)
    text = "".join(" " if c.isspace() else c for c in text.translate(_PLAIN).lower())
    # Nothing of the classes C (control, format, surrogate), no selectors behind an emoji.
    text = "".join(c for c in text if unicodedata.category(c)[0] != "C" and c not in "\ufe0e\ufe0f")
    marks = "".join(sorted({c for c in text if unicodedata.category(c)[0] == "M"}))
    pieces, amazon_pieces, halves, ending = _patterns(marks)
    if style == "amazon":
        text = " ".join(amazon_pieces.findall(text.replace("'", " ")))
        return text if keep_numbers else _WITH_DIGIT.sub("num_extend", _NUMBER.sub("num_num", text))
    text = re.sub(r'(?<![^\s(])"(?=\S)', " `` ", text).replace('"', " '' ")
    text = re.sub(r"(?<!`)`(?!`)", "'", text)
    text = ending.sub(r" \1", halves.sub(r"\1\3 \2\4", text))
    text = re.sub("--+", "--", re.sub(r"\.\.+", "...", " ".join(pieces.findall(text))))
    return text if keep_numbers else _NUMBER.sub("_num_", text)


# Words as numbers


class Corpus(NamedTuple):
    """N sentences as ids, <s> first, </s> last, then <pad>; L is the longest sentence's length."""

    tokens: Tensor  # (N, L) int64
    lengths: Tensor  # (N,) int64, with <s> and </s>
    unknown: list[list[str]]  # unknown words: one for each slot but the last, then the last one's
    n_unknown: Tensor  # (N,) int64, unknown tokens


def _markers(unknown_slots: int, mask: bool) -> list[str]:
    slots = [f"<unk{i}>" for i in range(1, unknown_slots)]
    return ["<pad>", "<s>", "</s>", "<unk>", *slots, *["<mask>"] * mask]


class Vocabulary:
    """Words and their ids: <pad> 0, <s> 1, </s> 2, <unk> 3, <unk1>, ..., <mask>, then the words.

    `tokens` has the text of each id. Of the S = unknown_slots markers for unknown words the i-th
    stands for a sentence's i-th unknown word, wherever it comes, and the last one for the rest.
    ValueError for a word that is a marker, holds white space or comes twice, or for no slot.
    """

    pad, start, end, unknown = 0, 1, 2, 3

    def __init__(self, words: Sequence[str], unknown_slots: int = 1, mask: bool = False) -> None:
        if unknown_slots < 1:
            raise ValueError(f"unknown_slots={unknown_slots}: want 1 or more")
        self.words, self.unknown_slots = list(words), unknown_slots
        markers = _markers(unknown_slots, mask)
        self.mask = len(markers) - 1 if mask else None
        self.first_word = len(markers)
        self.tokens = markers + self.words
        self._ids = {word: self.first_word + i for i, word in enumerate(self.words)}
        wrong = [w for w in self.words if w in markers or w.split() != [w]]
        if wrong or len(self._ids) < len(self.words):
            raise ValueError(f"a word is a marker, empty, with white space ({wrong[:3]}) or twice")

    @classmethod
    def build(
        cls, texts: Sequence[str], size: int, unknown_slots: int = 1, mask: bool = False
    ) -> "Vocabulary":
        """The most frequent words of sentences, ties by the alphabet; `size` counts markers."""
        markers = _markers(unknown_slots, mask)
        if size <= len(markers):
            raise ValueError(f"size={size}: want more than the {len(markers)} markers")
        counts = Counter(word for text in texts for word in text.split())
        ordered = sorted(counts.keys() - set(markers), key=lambda word: (-counts[word], word))
        return cls(ordered[: size - len(markers)], unknown_slots, mask)

    def __len__(self) -> int:
        return len(self.tokens)

    def id(self, word: str) -> int:
        """A word's id, or that of <unk>."""
        return self._ids.get(word, self.unknown)

    def encode(self, texts: Sequence[str], max_words: int | None = None) -> Corpus:
        """Sentences as ids, the first `max_words` of each; ValueError for one without words."""
        if isinstance(texts, str) or not len(texts):
            raise ValueError("texts: want a list of sentences, at least one")
        if max_words is not None and max_words < 1:
            raise ValueError(f"max_words={max_words}: want 1 or more, or None")
        rows, unknown, last = [], [], self.unknown + self.unknown_slots - 1
        for i, text in enumerate(texts):
            words = text.split() if isinstance(text, str) else None
            if not words:
                raise ValueError(f"sentence {i} is {text!r}: want a string with at least one word")
            ids, slots, rest = [], {}, []
            for word in words[:max_words]:
                if word not in self._ids and word not in slots:
                    if len(slots) < self.unknown_slots - 1:
                        slots[word] = self.unknown + len(slots)
                    else:
                        rest.append(word)
                ids.append(self._ids.get(word, slots.get(word, last)))
            rows.append(torch.tensor([self.start, *ids, self.end]))
            unknown.append([*slots, *rest])
        lengths = torch.tensor([len(row) for row in rows])
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad)
        n_unknown = ((tokens >= self.unknown) & (tokens <= last)).sum(1)
        return Corpus(tokens, lengths, unknown, n_unknown)

    def decode(self, ids: Sequence[int] | Tensor, unknown: Sequence[str] = ()) -> str:
        """Ids (T,) up to the first </s>, a source's unknown words from `encode` put back."""
        last = self.unknown + self.unknown_slots - 1
        slots = dict(enumerate(unknown[: self.unknown_slots - 1], self.unknown))
        rest = iter(unknown[self.unknown_slots - 1 :])
        words = []
        for t in ids.tolist() if isinstance(ids, Tensor) else ids:
            if t == self.end:
                break
            if self.unknown <= t <= last:
                words.append(next(rest, "<unk>") if t == last else slots.get(t, "<unk>"))
            elif t not in (self.pad, self.start):
                words.append(self.tokens[t])
        return " ".join(words)


# Words and sentences as vectors


def word_vectors(
    tokens: Tensor, vocabulary_size: int, dim: int, seed: int = 0, *, first_word: int = 4
) -> Tensor:
    """Vectors of words from the company they keep, (V, dim) float32: PPMI, then a truncated SVD.

    Pairs at most five words apart in tokens (N, L), the contexts' frequencies to the power 0.75
    (Levy, Goldberg and Dagan 2015); U sqrt(S) of a randomised SVD. 0 for ids below `first_word`.
    ValueError where the words are not more than `dim`, or none stand together.
    """
    from scipy import sparse  # here, since they take a second
    from sklearn.utils.extmath import randomized_svd

    n_words = vocabulary_size - first_word
    if not 1 <= dim < n_words:
        raise ValueError(f"dim={dim} of {n_words} words: want 1 <= dim < {n_words}")
    ids = tokens.cpu().numpy().astype(np.int64) - first_word
    counts = sparse.csr_array((n_words, n_words))
    for distance in range(1, min(6, ids.shape[1])):
        left, right = ids[:, :-distance].ravel(), ids[:, distance:].ravel()
        words = (left >= 0) & (right >= 0)
        places = left[words], right[words]
        counts = counts + sparse.coo_array((np.ones(words.sum()), places), counts.shape).tocsr()
    counts = (counts + counts.T).tocoo()
    if not counts.nnz:
        raise ValueError("no two words stand together in tokens: there is nothing to count")
    total = counts.sum(axis=1)
    context = total**0.75 / (total**0.75).sum()
    row, column = counts.row, counts.col
    information = np.log(counts.data / (total[row] * context[column]))
    positive = sparse.csr_array((np.maximum(information, 0.0), (row, column)), counts.shape)
    svd: Any = randomized_svd  # whose stub knows n_iter="auto" alone
    u, s, _ = svd(positive, dim, n_iter=3, random_state=seed)
    u = u * np.sign(u[np.abs(u).argmax(0), np.arange(dim)]) * np.sqrt(s)
    vectors = torch.zeros(vocabulary_size, dim)
    vectors[first_word:] = torch.from_numpy(np.where(total[:, None] > 0, u, 0.0)).float()
    return vectors


def frequency_weights(tokens: Tensor, vocabulary_size: int, *, first_word: int = 4) -> Tensor:
    """Weights (V,) a / (a + p(w)), a = 0.001, 0 below `first_word`: Arora et al. 2017."""
    counts = torch.bincount(tokens.flatten().cpu(), minlength=vocabulary_size).double()
    counts[:first_word] = 0.0
    weights = 1e-3 / (1e-3 + counts / counts.sum())
    weights[:first_word] = 0.0
    return weights.float()


def sentence_features(tokens: Tensor, lengths: Tensor, vectors: Tensor, weights: Tensor) -> Tensor:
    """The average (N, dim) of tokens' (N, L) vectors (V, dim) with weights (V,); 0 without any."""
    inside = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    tokens = tokens.masked_fill(~inside, 0)
    w = torch.where(inside, weights[tokens], 0.0)
    total = functional.embedding_bag(tokens, vectors, per_sample_weights=w, mode="sum")
    mass = w.sum(1, keepdim=True)
    return total / mass.masked_fill(mass == 0, 1)
