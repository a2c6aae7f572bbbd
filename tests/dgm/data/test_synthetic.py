"""Sentences say what their labels say and end as they should; mixtures have the centres they name;
topics follow their chain."""

import hashlib
import json
import math
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
import torch
from checks import close, refuses, share_is, standard_errors
from review_words import content_words, sentiment_of

from dgm.data import synthetic
from dgm.data.synthetic import (
    OPPOSITE,
    SHARED_ENDING,
    SUBJECTS,
    THEMES,
    find_theme,
    flip,
    gaussian_mixture_2d,
    review_grammar,
    shared_endings,
    topic_chain,
    topic_chain_information,
)

FILLERS, LINKS = (synthetic._WORDS[name] for name in ("fillers", "links"))


def test_the_words_are_those_of_the_published_results():
    text = Path(synthetic.__file__).with_name("words.json").read_text("utf-8")
    digest = hashlib.sha256(json.dumps(json.loads(text)).encode()).hexdigest()
    assert digest[:16] == "c66805c1109f7f9c"


# The first draws of a seed: a change would make every smoke result another.
FIRST = {
    review_grammar: [
        "this restaurant has poor staff and rude cook .",
        "luckily , the sushi was lovely this morning .",
    ],
    shared_endings: [
        "said for frost he sledge snow sledge snow been sledge yours truly .",
        "the novel novel chapter chapter poem the about the novel yours truly .",
    ],
    topic_chain: ["flute song verse piano drum violin", "song a a flute verse guitar violin drum"],
}


@pytest.mark.parametrize("draw", FIRST)
def test_same_seed_same_texts(draw):
    first, same, other = (draw(50, seed)[0] for seed in (3, 3, 4))
    assert first == same != other
    if draw is review_grammar:
        assert draw(3, 0)[0][:2] == FIRST[draw]  # whose draws do not depend on their number
    else:
        assert draw(2, 0)[0] == FIRST[draw]


DRAWS = *FIRST, partial(gaussian_mixture_2d, "eight")
test_number_and_seed_are_checked = refuses(
    {"want n >= 1 and seed >= 0": [partial(draw, *a) for draw in DRAWS for a in ((0, 0), (3, -1))]}
)


def test_the_labels_are_those_of_the_words():
    texts, sentiment, topic = review_grammar(500, seed=1)
    assert len(texts) == len(sentiment) == len(topic) == 500
    assert [sentiment_of(text) for text in texts] == sentiment.tolist()
    for text, t in zip(texts, topic.tolist(), strict=True):
        nouns = {k: set(words) for k, words in synthetic._WORDS["nouns"].items()}
        themes = {k for k in nouns if nouns[k] & set(text.split())}
        assert themes == {synthetic.TOPICS[t]}
        assert 1 <= sum(word in OPPOSITE for word in text.split()) <= 3
        assert 5 <= len(text.split()) <= 12
    assert {len(text.split()) for text in texts} >= set(range(5, 12))


def test_sentiment_and_topic_are_balanced_and_independent():
    _, sentiment, topic = review_grammar(9000, seed=0)
    assert share_is(torch.bincount(3 * sentiment + topic), torch.full((6,), 1 / 6), 9000)


def test_flipping_changes_the_sentiment_and_nothing_else():
    texts, sentiment, _ = review_grammar(300, seed=2)
    for text, y in zip(texts, sentiment.tolist(), strict=True):
        other = flip(text)
        assert sentiment_of(other) == 1 - y
        assert content_words(other) == content_words(text) != []
        assert flip(other) == text
        changed = [a for a, b in zip(text.split(), other.split(), strict=True) if a != b]
        assert changed == [word for word in text.split() if word in OPPOSITE]


CONTENT = set(chain(*SUBJECTS))


def test_sentences_share_their_ending_and_say_their_subject():
    texts, subject = shared_endings(400, seed=1)
    assert len(texts) == len(subject) == 400
    assert subject.dtype == torch.int64
    for text, s in zip(texts, subject.tolist(), strict=True):
        words = text.split()
        assert len(words) == 13
        assert tuple(words[-3:]) == SHARED_ENDING
        content = [w for w in words if w in CONTENT]
        assert len(content) == 6
        assert set(content) <= set(SUBJECTS[s])
        assert not set(words[:-3]) & set(SHARED_ENDING)


def test_every_word_comes():
    words = {*CONTENT, *FILLERS, *SHARED_ENDING}
    assert set(" ".join(shared_endings(20_000)[0]).split()) == words


def test_subjects_and_places_are_even_and_fillers_follow_zipf():
    n = 8000
    texts, subject = shared_endings(n, seed=2)
    assert share_is(torch.bincount(subject, minlength=16), torch.full((16,), 1 / 16), n)
    rows = [text.split()[:10] for text in texts]
    assert share_is(torch.tensor([[word in CONTENT for word in row] for row in rows]), 0.6)
    fillers = [w for row in rows for w in row if w in set(FILLERS)]
    total = sum(1 / r for r in range(1, 146))
    for i, share in ((0, 1 / total), (9, 0.1 / total)):
        assert share_is(fillers.count(FILLERS[i]), share, 4 * n)


def test_the_front_changes_the_place_of_the_ending_only():
    back, front = shared_endings(50, 3), shared_endings(50, 3, front=True)
    assert torch.equal(back[1], front[1])
    for single, other in zip(back[0], front[0], strict=True):
        assert other.split()[:3] == list(SHARED_ENDING)
        assert other.split()[3:] == single.split()[:-3]


def transitions(n_topics, switch, order="stay"):
    p = torch.full((n_topics, n_topics), switch / (n_topics - 1), dtype=torch.float64)
    for i in range(n_topics):
        p[i, (i + (order == "cycle")) % n_topics] = 1 - switch
    return p


@pytest.mark.parametrize("order", ["stay", "cycle"])
@pytest.mark.parametrize(("n_topics", "switch"), [(4, 0.1), (8, 0.2), (2, 0.9), (3, 1.0)])
def test_information_at_a_distance_is_that_of_the_matrix_power(n_topics, switch, order):
    information = topic_chain_information(n_topics, switch, range(7))
    assert information.shape == (7,)
    assert information.dtype == torch.float64
    for k in range(7):
        joint = torch.linalg.matrix_power(transitions(n_topics, switch, order), k) / n_topics
        expected = torch.xlogy(joint, joint * n_topics**2).sum()
        close(information[k], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", ["stay", "cycle"])
def test_topics_follow_the_chain(order):
    n, k, switch = 40_000, 4, 0.3
    topics = topic_chain(n, seed=1, n_topics=k, switch=switch, order=order).topics
    assert topics.shape == (n,)
    assert topics.dtype == torch.int64
    counts = torch.bincount(topics[:-1] * k + topics[1:], minlength=k * k).view(k, k).double()
    assert share_is(counts, transitions(k, switch, order), counts.sum(1, keepdim=True))


@pytest.mark.parametrize("lengths", [(5, 9), (2, 4), (1, 1)])
def test_a_sentence_tells_its_topic_and_nothing_else(lengths):
    texts, topics = topic_chain(3000, seed=2, words=lengths)
    assert {len(text.split()) for text in texts} == {*range(lengths[0], lengths[1] + 1)}
    links = set(LINKS)
    assert [find_theme(text) for text in texts] == topics.tolist()
    for text, topic in zip(texts, topics.tolist(), strict=True):
        mine = set(text.split()) - links
        assert mine
        assert mine <= set(list(THEMES.values())[topic])
    everything = [*(w for words in THEMES.values() for w in words), *links]
    assert len(everything) == len(set(everything)) == 8 * 30 + 20


def test_words_follow_zipf():
    words = " ".join(topic_chain(20_000, seed=3)[0]).split()
    linked, themed = ([w for w in words if (w in LINKS) == kind] for kind in (True, False))
    first = {words[0] for words in THEMES.values()}
    for drawn, n, names in ((linked, 20, {LINKS[0]}), (themed, 30, first)):
        share = 1 / sum(1 / r for r in range(1, n + 1))
        assert share_is(sum(w in names for w in drawn), share, len(drawn))
    # One word of n = 5 to 9 is the topic's for certain, two in five of the others are not.
    assert share_is(len(linked), 0.4 * (7 - 1) / 7, len(words))


def test_the_topic_of_undecided_sentences():
    assert find_theme("the sea and the bread") == -1
    assert find_theme("the sea and the boat and bread") == 0
    assert find_theme("of and") == find_theme("") == find_theme("zebra") == -1


REFUSED = {
    "want 2 <= n_topics <= 8": [{"n_topics": 1}, {"n_topics": 9}],
    "0 <= switch <= 1": {"switch": 1.5},
    "'stay' or 'cycle'": {"order": "random"},
    "words from 1 upwards": [{"words": (0, 3)}, {"words": (4, 3)}],
}
test_topic_chains_check_their_arguments = refuses(REFUSED, topic_chain, n=3)
test_their_information_checks_its_arguments = refuses(
    {
        "want 2 <= n_topics": {"n_topics": 9},
        "0 <= switch": {"switch": -0.1},
        "0 or more": {"distance": -1},
    },
    topic_chain_information,
    n_topics=4,
    switch=0.1,
)


@pytest.mark.parametrize(
    ("name", "m", "sigma"),
    [("eight", 8, 0.05), ("ring", 24, 0.02), ("grid", 25, 0.03), ("spiral", 24, 0.02)],
)
def test_mixtures_have_equal_round_parts_around_distinct_centres(name, m, sigma):
    n = 40_000
    points, centres, spread = gaussian_mixture_2d(name, n, seed=1)
    assert spread == sigma
    assert points.shape == (n, 2)
    assert centres.shape == (m, 2)
    assert points.dtype == centres.dtype == torch.float32
    between = torch.cdist(centres, centres) + torch.eye(m) * 9
    assert between.min() > 8 * sigma
    assert centres.abs().max() <= 1.0 if name == "eight" else centres.abs().max() <= 0.9
    nearest = torch.cdist(points, centres).argmin(1)
    assert share_is(torch.bincount(nearest), torch.full((m,), 1 / m), n)
    offset = ((points - centres[nearest]) / sigma).double()
    values = torch.cat([offset.T, offset.T.square() - 1, offset.prod(1)[None]])
    assert standard_errors(values).abs().max() < 4
    assert share_is(offset.norm(dim=1) < 1, 1 - math.exp(-0.5))


def test_circles_have_their_radii():
    for name, radius in (("eight", 1.0), ("ring", 0.8)):
        centres = gaussian_mixture_2d(name, 1).centres
        angle = torch.arange(len(centres)) * 2 * math.pi / len(centres)
        expected = radius * torch.stack([angle.cos(), angle.sin()], 1)
        close(centres, expected, rtol=0, atol=1e-6)


def test_the_first_points_are_the_published_ones():
    first = torch.tensor([[-0.9629204, 0.0776457], [0.5936904, -0.6404295]])
    close(gaussian_mixture_2d("eight", 2).points, first)  # as in FIRST


test_an_unknown_mixture_is_answered_with_those_there_are = refuses(
    {"no mixture 'nine'; there are eight, ring, grid, spiral": "nine"},
    partial(gaussian_mixture_2d, n=5),
)
