"""Along the slider no sentence says less of the attribute than at the stop before."""

import itertools
import math
import random

import pytest
from checks import refuses
from small_rewriters import random_model

from dgm import slider, steering
from dgm.steering import Candidate, Scores

NAMES = "ABCDE"


def candidate(text, total):
    return Candidate(text, Scores(0, 0, 0, 0, 0, 0, total), "")


@pytest.fixture
def model(monkeypatch):
    """Ranks what each vertex is given, and reads a sentence as the number that it is."""

    def prepare(*rows):
        def rank(model, sentences, weights, locked):
            own = [[candidate(str(v), total) for v, total in row] for row in rows]
            return own * (len(sentences) // len(rows))

        monkeypatch.setattr(steering, "rank", rank)
        monkeypatch.setattr(steering, "read", lambda m, written: [float(w) for w in written])
        return random_model(reader=True)

    return prepare


def path(model):
    (row,) = slider.sentence_paths(model, ["2.2"])
    return [c and c.text for c in row]


def best_of_all(rows):
    """Values of the best path, by trying all: own candidates, or another's at a charge."""
    flat = [(g, v, total) for g, row in enumerate(rows) for v, total in row]

    def score(k, g, total):
        beside = g == k or (g - 2) * (k - 2) > 0 or (k == 2 and abs(g - k) == 1)
        return total - abs(g - k) if beside else -math.inf

    paths = [
        p for p in itertools.product(flat, repeat=5) if [c[1] for c in p] == sorted(c[1] for c in p)
    ]
    best = max(paths, key=lambda p: sum(score(k, g, t) for k, (g, _, t) in enumerate(p)))
    return [str(value) for _, value, _ in best]


@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_the_best_that_never_falls(model, seed):
    rng = random.Random(seed)
    values = [iter(rng.sample(range(k, 12 + k), 2)) for k in range(5)]
    rows = [[(k + v / 3, 4 * rng.random()) for v in row] for k, row in enumerate(values)]
    assert path(model(*rows)) == best_of_all(rows)


def test_without_a_path_each_vertex_has_its_best(model):
    values = (3.0, 2.8, 2.5, 0.5, 0.4)
    assert path(model(*([(v, 5.0)] for v in values))) == [str(v) for v in values]


def test_a_sentence_without_candidates_stays(model):
    assert path(model([], [], [], [], [])) == [None] * 5


test_what_has_no_order_or_no_word_is_refused = refuses(
    {"at least one word": lambda: slider.rewrites_by_vertex(random_model(reader=True), "  ")}
)


def test_a_text_is_as_its_sentences_along_all_stops():
    rewrites = slider.rewrites_by_vertex(random_model(reader=True), "Good food. Bad service!")
    assert len(rewrites) == 5
    assert all(r.text for r in rewrites)
