"""Sentences: honest splits, unknown words that come back, word vectors."""

import gzip
import itertools
import json
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from checks import refuses
from draws import rng

from dgm.data import registry, text
from dgm.data.text import (
    Vocabulary,
    frequency_weights,
    load,
    sentence_features,
    tokenise,
    word_vectors,
)

HERE = Path(__file__).parent


@pytest.fixture
def put_lines(put):
    def put_lines(path, lines, encoding="utf-8"):
        put(path, gzip.compress("".join(f"{line}\n" for line in lines).encode(encoding)))

    return put_lines


ALL = ("train", "held_out", "validation", "test")


def numbered(start, n, end="."):
    return [f"sentence {i} {end}" for i in range(start, start + n)]


# Yelp


@pytest.fixture
def yelp(put_lines):
    """Yelp in small, some of whose sentences also stand in dev or test."""
    put_lines("yelp-li/sentiment.test.0.gz", numbered(0, 3))
    put_lines("yelp-li/sentiment.test.1.gz", numbered(3, 3))
    put_lines("yelp-li/reference.0.gz", [f"{s}\tIt's NOT {s}" for s in numbered(0, 3)])
    put_lines("yelp-li/reference.1.gz", [f"{s}\tno" for s in numbered(3, 3)][::-1])
    put_lines("yelp-li/sentiment.dev.0.gz", numbered(6, 2))
    put_lines("yelp-li/sentiment.dev.1.gz", numbered(8, 2))
    lines = [*numbered(0, 10), "", "sentence 7.", *numbered(100, 30_000)]
    put_lines("yelp-shen/sentiment.dev.0.gz", lines)
    put_lines("yelp-shen/sentiment.dev.1.gz", [*numbered(5, 3), *numbered(50_000, 20_000)])
    # The same sentence many times: held out or trained on, never both.
    put_lines("yelp-shen/sentiment.test.0.gz", ["  again   and AGAIN ! "] * 10)
    put_lines("yelp-shen/sentiment.test.1.gz", numbered(300, 10, "!"))


def test_yelp_s_splits_are_disjoint(yelp):
    splits = train, held_out, test, validation = [
        load("yelp", name) for name in ("train", "held_out", "test", "validation")
    ]
    assert disjoint(splits)
    assert len(held_out.texts) == 40_000
    assert "again and again !" in held_out.texts  # by its fixed order
    together = [*zip(train.texts, train.labels.tolist(), strict=True)]
    together += zip(held_out.texts, held_out.labels.tolist(), strict=True)
    expected = {(s, 0) for s in [*numbered(100, 30_000), "again and again !"]}
    expected |= {(s, 1) for s in [*numbered(50_000, 20_000), *numbered(300, 10, "!")]}
    assert set(together) == expected
    assert load("yelp", "train").texts == train.texts != sorted(train.texts)
    assert test.texts == numbered(0, 6)
    assert test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert test.references[0] == "it 's not sentence _num_ ."
    assert test.references[3:] == ["no"] * 3
    assert validation.labels.tolist() == [0, 0, 1, 1]
    assert validation.references is None


def disjoint(splits):
    sets = [{"".join(t.split()) for t in split.texts} for split in splits]
    return not any(first & other for first, other in itertools.combinations(sets, 2))


REAL = {  # files, sentences of each split, seconds
    "yelp": (("yelp-li", "yelp-shen"), (132_322, 40_000, 4000, 1000), 20),
    "amazon": (("amazon-li", "vader-snippets"), (3240, 1200, 500, 1000), 20),
    "ptb": (("ptb",), (42_068, 3_370, 3_761), 20),
    "wikitext-2": (("wikitext-2",), (36_718, 3_760, 4_358), 5),
    "shakespeare": (("tiny-shakespeare",), (23_004, 1275, 1276), 6),
}


@pytest.fixture(params=REAL)
def real(request, need):
    """A real set's name and splits, where DGM_DATA has them."""
    files, sizes, seconds = REAL[request.param]
    need(*files)
    start = time.process_time()
    names = ALL if len(sizes) == 4 else ("train", "validation", "test")
    splits = [load(request.param, name) for name in names]
    assert time.process_time() - start < seconds
    assert tuple(len(split.texts) for split in splits) == sizes
    assert all(len(split.labels) == len(split.texts) for split in splits)
    return request.param, splits


def counted(splits):
    """Tokens of each split, with an end for each sentence, and all words."""
    tokens = [sum(len(text.split()) + 1 for text in split.texts) for split in splits]
    return tokens, {word for split in splits for text in split.texts for word in text.split()}


def test_the_real_sets_have_their_published_counts_and_leak_nothing(real):
    name, splits = real
    train, test = splits[0], splits[-1]
    if name in ("yelp", "amazon"):
        published = text.Sentences([t for part in splits[2:] for t in part.texts], test.labels)
        assert disjoint([*splits[:2], published])
        assert name == "yelp" or disjoint(splits[2:])
        assert all(0.37 < part.labels.double().mean() < 0.63 for part in splits)
        assert len(test.references) == 1000
        assert all(test.references)
        first = {
            "yelp": "ever since joes has changed hands it 's gotten better and better .",
            "amazon": "if your bike had a kickstand on the plate it would",
        }[name]
        assert test.references[0].startswith(first)
    if name == "yelp":
        assert torch.bincount(test.labels).tolist() == [500, 500]
        assert sum(tokenise(t) == t for t in train.texts[:20_000]) > 0.995 * 20_000
    elif name == "ptb":
        tokens, words = counted(splits)
        assert tokens == [929_589, 73_760, 82_430]
        assert len(words) == 9_999  # and the end of a sentence
        assert {w for w in words if w != w.lower()} == {"N"}
    elif name == "wikitext-2":
        tokens, words = counted(splits)
        assert tokens == [2_088_628, 217_646, 245_569]
        assert len(words | {"<eos>"}) == 33_278


# Penn Treebank, WikiText-2 and Tiny Shakespeare


def test_ptb_stands_as_it_is(put_lines):
    put_lines("ptb/ptb.train.txt.gz", [" the <unk> rose N N to $ N ", " no it was n't "])
    put_lines("ptb/ptb.valid.txt.gz", [" mr. <unk> 's u.s. "])
    train = load("ptb", "train")
    assert train.texts == ["the <unk> rose N N to $ N", "no it was n't"]
    assert train.labels.tolist() == [0, 0]
    assert train.references is None
    assert load("ptb", "validation").texts == ["mr. <unk> 's u.s."]
    corpus = Vocabulary.build(train.texts, 99).encode(train.texts)
    assert corpus.n_unknown.tolist() == [1, 0]


def test_wikitext_keeps_its_blank_lines_and_its_capitals(put_lines):
    lines = [" ", " = The <unk> = ", "", " A  line\u2009of 2 @,@ 000 . ", " "]
    put_lines("wikitext-2/wiki.train.shuffled-articles.txt.gz", lines)
    put_lines("wikitext-2/valid.txt.gz", [" Homarus "])
    train = load("wikitext-2", "train")
    assert train.texts == ["", "= The <unk> =", "", "A  line\u2009of 2 @,@ 000 .", ""]
    assert train.labels.tolist() == [0] * 5
    assert train.references is None
    assert load("wikitext-2", "validation").texts == ["Homarus"]


def speeches(n, lines=2):
    """A play of n speeches of so many lines."""
    return [s for i in range(n) for s in (f"Who {i}:", *[f"Line {i}, said:"] * lines, "")]


def test_shakespeare_is_what_is_said_and_no_speech_is_cut(put_lines):
    put_lines(
        "tiny-shakespeare/input.txt.gz",
        ["ROMEO:", "", "", "First Lord:", "Is't a verdict?  ", "He's done:", "", *speeches(19)],
    )
    train, validation, test = (load("shakespeare", s) for s in ("train", "validation", "test"))
    assert train.texts[:3] == ["is't a verdict ?", "he 's done :", "line _num_ , said :"]
    assert [len(s.texts) for s in (train, validation, test)] == [36, 2, 2]
    put_lines("tiny-shakespeare/input.txt.gz", speeches(10, 7))
    parts = [load("shakespeare", s) for s in ("train", "validation", "test")]
    assert [len(s.texts) for s in parts] == [63, 7, 0]
    assert all(s.labels.shape == (len(s.texts),) and not s.labels.any() for s in parts)


def test_reviews_need_no_file(monkeypatch):
    monkeypatch.setattr(registry, "fetch", None)
    splits = [load("reviews", name) for name in ALL]
    assert [len(s.texts) for s in splits] == [4000, 2000, 500, 500]
    assert disjoint(splits)
    test = splits[-1]
    assert test.references[0] == "my wife thought the salad here was fresh ."
    assert all(tokenise(t) == t for t in test.texts)


# What a reader types


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("The food was GREAT!", "the food was great !"),
        ("I can't; it's", "i ca n't ; it 's"),
        ("we’ll see… won’t we", "we 'll see ... wo n't we"),
        ("5 stars, $10.50, 1,000 at 8:30pm 10%", "_num_ stars , $ _num_ , _num_ at 8:30pm _num_ %"),
        ('("Hi" he said.) It was "so" good', "( `` hi '' he said . ) it was `` so '' good"),
        ("cannot go; gonna a+ w/ dr. bob", "can not go ; gon na a+ w/ dr. bob"),
        ("<script>alert('x')</script>", "< script > alert ( ' x ' ) < / script >"),
        ("so good \U0001f600\ufe0f\u200d!", "so good \U0001f600 !"),
        ("a\x00b\u202e c\td\n\ud800", "ab c d"),
        (" \x07\u200b ", ""),
        ("check-in o'clock, no -- stop....", "check-in o'clock , no -- stop ..."),
        ("x" * 3000, "x" * 3000),
        ("_num_ n't `` '' 's", "_num_ n't `` '' 's"),
    ],
)
def test_typed_text_gets_yelp_s_form(typed, expected):
    assert tokenise(typed) == expected
    assert tokenise(expected) == expected


@pytest.mark.parametrize("style", ["yelp", "amazon"])
def test_numbers_may_stay_as_they_are(style):
    typed = "5 stars, $10.50, 1,000"
    tokens = tokenise(typed, style, keep_numbers=True)
    assert tokens == "5 stars , $ 10.50 , 1,000"
    assert tokenise(tokens, style) == tokenise(typed, style)


def test_typed_text_gets_amazon_s_form():
    typed = "I've had the ad-2500 for 2.5 years, didn't break; 32gb!"
    expected = "i ve had the ad num_num for num_num years , didn t break num_extend !"
    assert tokenise(typed, "amazon") == expected
    assert tokenise(expected, "amazon") == expected


@pytest.mark.parametrize("words", json.loads((HERE / "words.json").read_text("utf-8")))
def test_letters_keep_their_marks(words):
    """The page is held to the same list."""
    for style in ("yelp", "amazon"):
        assert tokenise(words["typed"], style) == words[style]
        assert tokenise(words[style], style) == words[style]


# Vocabulary


def test_ids_are_the_house_s():
    plain = Vocabulary.build(["b c b", "a c <unk>", "d"], size=7)  # by frequency and the alphabet
    assert plain.tokens == ["<pad>", "<s>", "</s>", "<unk>", "b", "c", "a"]
    assert Vocabulary(json.loads(json.dumps(plain.words))).tokens == plain.tokens
    with_slots = Vocabulary(["a"], unknown_slots=3, mask=True)
    assert with_slots.tokens == ["<pad>", "<s>", "</s>", "<unk>", "<unk1>", "<unk2>", "<mask>", "a"]
    assert (with_slots.mask, with_slots.first_word, len(with_slots)) == (6, 7, 8)
    assert Vocabulary(["a"]).mask is None
    assert (with_slots.id("a"), with_slots.id("z"), with_slots.id("<s>")) == (7, 3, 3)


def test_a_corpus_is_padded_and_counts_its_ends():
    vocabulary = Vocabulary(["the", "food", "."])
    corpus = vocabulary.encode(["the food .", "the zzz the xxx food"], max_words=4)
    assert corpus.tokens.tolist() == [[1, 4, 5, 6, 2, 0], [1, 4, 3, 4, 3, 2]]
    assert corpus.lengths.tolist() == [5, 6]
    assert corpus.unknown == [[], ["zzz", "xxx"]]
    assert corpus.n_unknown.tolist() == [0, 2]
    assert corpus.tokens.dtype == corpus.lengths.dtype == torch.int64


@pytest.mark.parametrize("slots", [1, 2, 3, 5])
def test_unknown_words_come_back(slots):
    vocabulary = Vocabulary(["a", "b"], unknown_slots=slots, mask=True)
    for sentence in ("x a x y b", "x y z x y z w", "a b", "<unk> <s> a </s>", "w w w"):
        corpus = vocabulary.encode([sentence])
        ids = corpus.tokens[0]
        assert ids.max() < len(vocabulary)
        assert vocabulary.decode(ids, corpus.unknown[0]) == sentence
        assert vocabulary.decode(ids.tolist(), corpus.unknown[0]) == sentence
        expected = sum(word not in "ab" for word in sentence.split())
        assert corpus.n_unknown.tolist() == [expected]


def test_each_unknown_word_has_its_slot_and_the_last_takes_the_rest():
    vocabulary = Vocabulary(["a"], unknown_slots=2)
    corpus = vocabulary.encode(["x a x y z"])
    assert corpus.tokens[0].tolist() == [1, 3, 5, 3, 4, 4, 2]
    assert corpus.unknown == [["x", "y", "z"]]
    assert vocabulary.decode([4, 3, 5], ["x", "y", "z"]) == "y x a"
    assert vocabulary.decode([3, 4, 4], ["x", "y"]) == "x y <unk>"
    assert vocabulary.decode([3, 3, 2, 5]) == "<unk> <unk>"


REFUSED = {
    "or twice": partial(Vocabulary, ["a", "a"]),
    "is a marker": partial(Vocabulary, ["<s>"]),
    "white space": partial(Vocabulary, ["a b"]),
    "unknown_slots=0: want 1 or more": partial(Vocabulary, ["a"], unknown_slots=0),
    "size=4: want more than the 4 markers": partial(Vocabulary.build, ["a"], 4),
    "sentence 1 is .*want a string": [
        partial(Vocabulary(["a"]).encode, ["a", bad]) for bad in ("", "  \t", None, 3)
    ],
    "at least one": partial(Vocabulary(["a"]).encode, []),
    "want a list of sentences": partial(Vocabulary(["a"]).encode, "a"),
    "text is NoneType: want a string": partial(tokenise, None),
    "style='imdb'": partial(tokenise, "x", "imdb"),
    "max_words=0": partial(Vocabulary(["a"]).encode, ["a"], max_words=0),
    "dim=2 of 2 words: want 1 <= dim < 2": partial(
        word_vectors, torch.tensor([[1, 4, 5, 2]]), 6, 2
    ),
    "nothing to count": partial(word_vectors, torch.tensor([[1, 4, 2]]), 6, 1),
}
test_arguments_are_checked = refuses(REFUSED)


# Vectors


def test_pointwise_information_by_hand():
    # Two words that only ever stand together: P(b|a) = 1 and the contexts are a half each.
    tokens = torch.tensor([[1, 4, 5, 2]] * 3 + [[1, 6, 7, 2]] * 3)
    vectors = word_vectors(tokens, 9, 4).double()
    # U S U^T is the matrix's polar factor: here log 4 on each pair.
    information = vectors @ vectors.T
    expected = torch.zeros(9, 9, dtype=torch.float64)
    expected[4:8, 4:8] = torch.eye(4) * torch.log(torch.tensor(4.0))
    assert torch.allclose(information, expected, atol=1e-5)
    assert (vectors[[0, 1, 2, 3, 8]] == 0).all()
    assert (vectors.gather(0, vectors.abs().argmax(0)[None]) > 0).all()


def test_word_vectors_are_those_of_the_formula():
    tokens = torch.randint(3, 12, (40, 9), generator=rng(3))
    counts = torch.zeros(8, 8, dtype=torch.float64)
    for row in tokens.tolist():
        for i, j in itertools.permutations(range(9), 2):
            if abs(i - j) <= 5 and min(row[i], row[j]) >= 4:
                counts[row[i] - 4, row[j] - 4] += 1
    smooth = counts.sum(0) ** 0.75
    ratio = counts / counts.sum(1, keepdim=True) / (smooth / smooth.sum())
    u, s, _ = torch.linalg.svd(ratio.log().clamp(min=0.0))
    expected = u[:, :5] * s[:5].sqrt()
    expected = expected * expected.gather(0, expected.abs().argmax(0)[None]).sign()
    vectors = word_vectors(tokens, 12, 5)
    assert torch.allclose(vectors[4:].double(), expected, atol=1e-4)


def test_frequent_words_weigh_less():
    tokens = torch.tensor([[1, 4, 4, 4, 5, 2], [1, 3, 6, 0, 0, 0]])
    weights = frequency_weights(tokens, 8)
    expected = 0.001 / (0.001 + torch.tensor([0.6, 0.2, 0.2]))
    assert torch.allclose(weights[4:7], expected)
    assert weights[:4].tolist() == [0.0] * 4
    assert weights[7] == 1.0


def test_features_are_weighted_averages_of_known_words_inside():
    vectors = torch.randn(8, 3, generator=rng())
    weights = torch.tensor([0, 0, 0, 0, 1.0, 3.0, 2.0, 5.0])
    tokens = torch.tensor([[1, 4, 5, 2, 7], [1, 3, 3, 2, 0]])
    features = sentence_features(tokens, torch.tensor([4, 4]), vectors, weights)
    assert torch.allclose(features[0], (vectors[4] + 3 * vectors[5]) / 4)
    assert features[1].tolist() == [0.0] * 3
