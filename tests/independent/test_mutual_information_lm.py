"""Chapter 2's topic chain: its information in closed form, and a published LSTM and critic.

The LSTM, the critic and the chain are NumPy's own, on text of another seed; words are data.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, log_softmax, logsumexp, xlogy
from sklearn.metrics import mutual_info_score

CHAPTER, NAME, END = "02_mutual_information_lm", "chain-phase-I-seed0", 2
WORDS = Path(__file__).resolve().parents[2] / "lib" / "dgm" / "data" / "words.json"
DISTANCES, N_PARTS = (1, 2, 3, 5, 8), 20


@pytest.fixture(scope="module")
def words():
    """Return topics' words, (8, 30), and those that topics share."""
    content = json.loads(WORDS.read_text("utf-8"))
    return np.array(list(content["themes"].values())), np.array(content["links"])


def zipf(rng, words, size):
    shares = 1 / np.arange(1, len(words) + 1)
    return rng.choice(words, size, p=shares / shares.sum())


def chain(words, n, rng):
    """Sentences of 2 to 4 words; the topic stays with probability 0.9, one word at least is its."""
    topics, linking = words
    topic, sentences = int(rng.integers(8)), []
    for _ in range(n):
        length = rng.integers(2, 5)
        own = rng.random(length) >= 0.4
        own[rng.integers(length)] = True
        themed, shared = zipf(rng, topics[topic], length), zipf(rng, linking, length)
        sentences.append(list(np.where(own, themed, shared)))
        if rng.random() < 0.1:
            topic = int((topic + rng.integers(1, 8)) % 8)
    return sentences


class Model:
    """A published LSTM and its critic."""

    def __init__(self, tensors, vocabulary):
        self.t, self.ids = tensors, {word: 4 + i for i, word in enumerate(vocabulary)}
        self.words = {i: word for word, i in self.ids.items()}

    def encode(self, sentence):
        return [*(self.ids.get(word, 3) for word in sentence), END]

    def step(self, tokens, h, c):
        t = self.t
        gates = t["model.embedding.weight"][tokens] @ t["model.lstms.0.weight_ih_l0"].T
        gates = gates + h @ t["model.lstms.0.weight_hh_l0"].T
        gates = gates + t["model.lstms.0.bias_ih_l0"] + t["model.lstms.0.bias_hh_l0"]
        i, f, g, o = np.split(gates, 4, -1)
        c = expit(f) * c + expit(i) * np.tanh(g)
        return expit(o) * np.tanh(c), c

    def log_probs(self, h):
        return log_softmax(h @ self.t["model.embedding.weight"].T + self.t["model.head.bias"], -1)

    def features(self, sentences):
        """Each sentence's largest states (N, 64)."""
        rows = [self.encode(sentence) for sentence in sentences]
        best = np.full((len(rows), 64), -np.inf)
        h = c = np.zeros((len(rows), 64))
        for place in range(max(map(len, rows))):
            h, c = self.step([row[place] if place < len(row) else 0 for row in rows], h, c)
            inside = np.array([place < len(row) for row in rows])
            best[inside] = np.maximum(best[inside], h[inside])
        return best

    def critic(self, a, b):
        def side(name, x, y):
            pair = np.concatenate([x, y, x - y, x * y, abs(x - y)], -1)
            hidden = pair @ self.t[f"critic.{name}.0.weight"].T + self.t[f"critic.{name}.0.bias"]
            weight, bias = self.t[f"critic.{name}.1.weight"], self.t[f"critic.{name}.1.bias"]
            return (np.maximum(hidden, 0) @ weight.T + bias)[:, 0]

        return (side("forwards", a, b) + side("backwards", b, a)) / 2


@pytest.fixture(scope="module")
def result(published):
    return published(CHAPTER, NAME)


@pytest.fixture(scope="module")
def model(result):
    return Model(result.tensors, result.values["vocabulary"])


def spread(left_out):
    """Standard error of a difference of two measurements, of one without each of its parts."""
    return (2 * (len(left_out) - 1)) ** 0.5 * np.std(left_out)


def test_exact_information(result, agree):
    move = np.full((8, 8), 0.1 / 7) + (0.9 - 0.1 / 7) * np.eye(8)
    for distance, exact in zip(DISTANCES, result.values["final"]["exact_by_distance"], strict=True):
        joint = np.linalg.matrix_power(move, distance) / 8
        value = xlogy(joint, joint * 64).sum()
        agree(f"exact information at distance {distance}, nats", exact, value, 1e-9)


def test_likelihood_of_other_text(result, model, words, agree):
    rng = np.random.default_rng(10)
    written = [chain(words, 250, rng) for _ in range(N_PARTS)]
    texts = [[END, *(token for s in text for token in model.encode(s))] for text in written]
    h = c = np.zeros((N_PARTS, 64))
    nats, count = np.zeros(N_PARTS), np.array([len(text) - 1 for text in texts])
    for place in range(max(count)):
        tokens = [text[min(place, len(text) - 1)] for text in texts]
        h, c = model.step(tokens, h, c)
        log_p = model.log_probs(h)
        for i, text in enumerate(texts):
            if place < count[i]:
                nats[i] -= log_p[i, text[place + 1]]
    left_out = (nats.sum() - nats) / (count.sum() - count)
    value, error = nats.sum() / count.sum(), spread(left_out)
    agree("loss of phase I, nats per token", result.values["final"]["nll"], value, error)


def test_bound_on_other_text(result, model, words, agree):
    rng = np.random.default_rng(20)
    features = model.features(chain(words, 5000, rng))
    first = np.arange(len(features) - 1)
    joint = model.critic(features[first], features[first + 1])
    other = (first[:, None] + rng.integers(2, len(features), (len(first), 20))) % len(features)
    product = model.critic(features[first.repeat(20)], features[other.ravel()]).reshape(-1, 20)

    def bound(part):
        scores = product[part].ravel()
        return joint[part].mean() - logsumexp(scores) + np.log(len(scores))

    parts = np.array_split(np.arange(len(first)), N_PARTS)
    error = spread([bound(np.setdiff1d(first, part)) for part in parts])
    agree("held-out bound, nats", result.values["final"]["bound"], bound(first), error)


def test_information_of_written_text(result, model, words, agree):
    rng, n, length = np.random.default_rng(30), 64, 300
    topic = {word: k for k, row in enumerate(words[0]) for word in row}
    tokens, texts = np.full(n, END), [[[]] for _ in range(n)]
    h = c = np.zeros((n, 64))
    for _ in range(length):
        h, c = model.step(tokens, h, c)
        noise = rng.gumbel(size=(n, len(model.words) + 4))
        tokens = (model.log_probs(h) + noise).argmax(-1)
        for text, token in zip(texts, tokens, strict=True):
            if token == END:
                text.append([])
            else:
                text[-1].append(topic.get(model.words.get(token), -1))

    def label(sentence):
        counts = np.bincount([k for k in sentence if k >= 0], minlength=8)
        top = counts.max()
        return int(counts.argmax()) if top and (counts == top).sum() == 1 else 8

    labels = [[label(sentence) for sentence in text[:-1] if sentence] for text in texts]

    def information(chosen):
        a = np.concatenate([labels[i][:-1] for i in chosen])
        b = np.concatenate([labels[i][1:] for i in chosen])
        table = np.histogram2d(a, b, bins=np.arange(10))[0]
        cells = [np.count_nonzero(x) for x in (table, table.sum(0), table.sum(1))]
        # Miller's correction of what chance adds.
        return mutual_info_score(a, b) - (cells[0] - cells[1] - cells[2] + 1) / (2 * len(a))

    error = spread([information(np.delete(np.arange(n), i)) for i in range(n)])
    expected, value = result.values["samples"]["information"][0], information(np.arange(n))
    agree("information of written text, nats", expected, value, error)
