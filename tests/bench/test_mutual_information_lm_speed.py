"""The mixture of softmaxes beside the naive one, a training step beside a plain one."""

import random
import sys
from functools import partial

import pytest
import torch
from benches import peak, resident_peak, turns
from draws import rng
from torch.nn.functional import cross_entropy, softplus

from dgm.nets.language_models import AWDLSTM, plain_lstm
from dgm.nets.mixture_of_softmaxes import mixture_of_softmaxes_nll
from dgm.papers.mutual_information_lm import (
    Draw,
    SegmentCritic,
    bootstrap_objective,
    draw_pairs,
    likelihood_objective,
    make_segments,
)

TOKENS, EXPERTS, WIDTH, WORDS, ROUNDS = 840, 15, 280, 10_000, 3
BATCH, WINDOW, ANCHORS, LONGEST, WEIGHT, STEPS = 20, 35, 12, 40, 0.1, 9  # of training


def naive(latent, log_prior, weight, bias, targets):
    """The mixture over the vocabulary as one tensor, and its logarithm."""
    each = torch.softmax(latent.flatten(0, 1) @ weight.T + bias, -1)
    mixture = (log_prior.exp()[..., None] * each.view(*latent.shape[:2], -1)).sum(1)
    return -mixture.gather(1, targets[:, None]).log().mean()


def blocked(*arguments):
    return mixture_of_softmaxes_nll(*arguments).total


def inputs(n=TOKENS):
    generator = rng()
    parts = [torch.randn(n, EXPERTS, WIDTH, generator=generator).tanh()]
    parts += [torch.randn(n, EXPERTS, generator=generator).log_softmax(-1)]
    parts += [0.05 * torch.randn(WORDS, WIDTH, generator=generator), torch.zeros(WORDS)]
    return [p.requires_grad_() for p in parts], torch.randint(WORDS, (n,), generator=generator)


def there_and_back(loss, parts, targets):
    value = loss(*parts, targets)
    torch.autograd.grad(value, parts)
    return float(value.detach())


def test_seconds(benchmark):
    parts, targets = inputs(TOKENS // 10)
    values = [there_and_back(loss, parts, targets) for loss in (blocked, naive)]
    assert values[0] == pytest.approx(values[1], abs=1e-5)
    benchmark.pedantic(there_and_back, (blocked, parts, targets), rounds=1)
    if benchmark.stats:
        parts, targets = inputs()
        runs = [partial(there_and_back, loss, parts, targets) for loss in (blocked, naive)]
        taken = turns(runs, ROUNDS)
        ratio = float((taken[:, 0] / taken[:, 1]).median())
        benchmark.extra_info["to_naive"] = ratio
        assert ratio < 1.2


def test_peak_memory(benchmark):
    if not benchmark.enabled:
        pytest.skip("needs gigabytes for the naive one")
    own = benchmark.pedantic(peak, (__file__, "blocked"), rounds=1)
    benchmark.extra_info["to_naive"] = own / peak(__file__, "naive")
    assert benchmark.extra_info["to_naive"] < 0.25


class Setting:
    """A model, its critic, a window of a text, 2,000 sentences as long as Penn Treebank's."""

    def __init__(self, make):
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = make()
            self.critic = SegmentCritic(self.model.feature_width)
        for parameter in self.model.parameters():
            parameter.data *= 4  # so that states are large enough to tell sentences apart
        lengths = (21 + 10 * torch.randn(2000, generator=generator)).clamp(2, 60).long().tolist()
        sentences = [torch.randint(WORDS, (n,), generator=generator).tolist() for n in lengths]
        self.segments = make_segments(sentences, 1, 0, LONGEST)
        self.rows = [[*ids[: LONGEST - 1], 1] for ids in sentences]
        self.tokens = torch.randint(WORDS, (BATCH, WINDOW + 1), generator=generator)
        self.generator, self.dice = generator, random.Random(0)
        parameters = [*self.model.parameters(), *self.critic.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=1e-4)


def ours(at, generator, draw=None):
    draw = draw or draw_pairs(len(at.rows), ANCHORS, at.generator)
    likelihood = likelihood_objective(at.model, at.tokens, None, generator)
    parts = at.model, at.critic, at.segments
    terms = bootstrap_objective(*parts, draw, generator, critic_weight=WEIGHT)
    return likelihood.value + terms.value


def draw_singly(dice, n):
    """Places of sentences, of those that follow, and of others."""
    anchor, other = [], []
    while len(anchor) < ANCHORS:
        i, j = dice.randrange(n - 1), dice.randrange(n)
        if j not in (i, i + 1):
            anchor.append(i)
            other.append(j)
    return anchor, [i + 1 for i in anchor], other


def plain(at, generator, places=None):
    """All logits at once; sentences drawn and padded one by one, and read in three passes."""
    model, critic = at.model, at.critic
    reading = model.read(at.tokens[:, :-1], None, generator)
    last, targets = reading.layers[-1], at.tokens[:, 1:].flatten()
    latent, log_prior = (x.flatten(0, 1) for x in model.head.experts(reading.output, generator))
    head = model.embedding.weight, model.head.bias
    if latent.shape[1] == 1:
        nll = cross_entropy(latent[:, 0] @ head[0].T + head[1], targets)
    else:
        nll = naive(latent, log_prior, *head, targets)
    loss = nll + 2 * reading.output.square().mean() + (last[:, 1:] - last[:, :-1]).square().mean()
    features = []
    for chosen in places or draw_singly(at.dice, len(at.rows)):
        rows = [at.rows[i] for i in chosen]
        tokens = torch.tensor([row + [0] * (LONGEST - len(row)) for row in rows])
        inside = torch.arange(LONGEST) < torch.tensor([len(row) for row in rows])[:, None]
        layers = [
            h.masked_fill(~inside[..., None], -torch.inf).amax(1)
            for h in model.read(tokens, None, generator).layers
        ]
        features.append(torch.cat(layers, 1))
    first, following, other = features
    joint, product = critic(first, following, generator), critic(first, other, generator)
    return loss + WEIGHT * (softplus(-joint).mean() + softplus(product).mean())


def step(loss, at, bf16=False):
    """One step of training."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        value = loss(at, at.generator)
    at.optimiser.zero_grad()
    value.backward()
    for module in (at.model, at.critic):
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    at.optimiser.step()


BASES = {
    "one softmax": lambda: plain_lstm(WORDS, 200),
    "mixture": lambda: AWDLSTM(WORDS, 200, 200, 200, 1, 5),
}
# As the chapter trains on a CPU, with products in bfloat16, and with all in float32.
WAYS = {"plain": (plain, False), "ours": (ours, True), "ours, float32": (ours, False)}


@pytest.mark.parametrize("base", BASES)
def test_tokens_a_second(benchmark, base):
    at = Setting(BASES[base])
    places = draw_singly(at.dice, len(at.rows))
    draw = Draw(*(torch.tensor(p) for p in (*places, places[1])), torch.zeros(ANCHORS))
    with torch.no_grad():
        expected = float(plain(at, None, places))
        assert float(ours(at, None, draw)) == pytest.approx(expected, abs=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            assert float(ours(at, None, draw)) == pytest.approx(expected, rel=5e-3)
    benchmark.pedantic(step, (ours, at, True), rounds=1)
    if benchmark.stats:
        runs = [partial(step, loss, at, bf16) for loss, bf16 in WAYS.values()]
        turns(runs, 1)  # what a first call loads
        taken = dict(zip(WAYS, turns(runs, STEPS).T, strict=True))
        for name, seconds in taken.items():
            rate = BATCH * WINDOW / float(seconds.median())
            ratio = float((taken["plain"] / seconds).median())
            benchmark.extra_info[name] = {"tokens_per_second": rate, "to_plain": ratio}
        assert benchmark.extra_info["ours"]["to_plain"] > 1.5


if __name__ == "__main__":
    torch.set_num_threads(1)
    small, large = inputs(2), inputs()
    chosen = {"blocked": blocked, "naive": naive}[sys.argv[1]]
    there_and_back(chosen, *small)  # what a first call loads
    before = resident_peak()
    there_and_back(chosen, *large)
    print(resident_peak() - before)
