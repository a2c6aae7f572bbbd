"""Training a GAN: runs that are pairs, resume, and stop when they have failed."""

import pytest
import torch

from dgm.papers.bre_gan import toy_discriminator, toy_generator
from dgm.train import TrainingState
from dgm_book import profiles
from dgm_book.chapters.bre_gan.recipe import Training
from dgm_book.chapters.bre_gan.training import GAN, check_progress, noise, train

TRAINING = Training(20, 64, 2e-3, n_measurements=2, weight=1.0, weight_falls=True)


def small_gan():
    torch.manual_seed(0)
    return GAN(toy_generator(), toy_discriminator(), 2)


def ring(i):
    angle = torch.rand(64, generator=torch.Generator().manual_seed(i)) * 6.3
    return torch.stack([angle.cos(), angle.sin()], 1)


def first_weights(gan):
    return {"first": float(next(gan.parameters()).detach().sum())}


def run(name, gan, training=TRAINING, data=ring, measure=first_weights):
    return train(gan, data, training, profiles.get("smoke"), 0, name, measure)


def assert_same_weights(a, b):
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("measurements_before", [1, 2])
def test_an_interrupted_run_ends_the_same(work, measurements_before):
    whole, halves = small_gan(), small_gan()
    expected = run("whole", whole)
    left = iter(range(measurements_before))

    def breaks(gan):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return first_weights(gan)

    name = f"halves{measurements_before}"
    with pytest.raises(KeyboardInterrupt):
        run(name, small_gan(), measure=breaks)
    assert run(name, halves) == expected
    assert [row["step"] for row in expected["measured"]] == [0, 10, 20]
    assert_same_weights(whole, halves)
    finished = small_gan()
    assert run(name, finished) == expected
    assert_same_weights(whole, finished)


def test_pairs_get_the_same_noise(work):
    batches = {0.0: [], 1.0: []}
    for weight, inputs in batches.items():
        gan = small_gan()
        gan.generator.register_forward_pre_hook(lambda _, x, to=inputs: to.append(x[0]))
        run(f"pair{weight}", gan, TRAINING._replace(weight=weight))
    assert len(batches[0.0]) == 40
    for a, b in zip(*batches.values(), strict=True):
        assert torch.equal(a, b)
    gan = small_gan()
    draws = [noise(4, gan, seed, i, "cpu") for seed, i in ((1, 2), (1, 2), (1, 3), (2, 2))]
    assert torch.equal(draws[0], draws[1])
    assert not any(torch.equal(draws[0], other) for other in draws[2:])


def test_a_generator_step_leaves_the_discriminator_alone(work):
    gan, before = small_gan(), small_gan()
    run("frozen", gan, TRAINING._replace(steps=1, n_measurements=1, learning_rate=1e-6))
    pairs = zip(gan.discriminator.parameters(), before.discriminator.parameters(), strict=True)
    # One step of Adam changes a weight by its rate at most; two networks' steps would twice.
    assert 0 < max(float((a - b).detach().abs().max()) for a, b in pairs) <= 1.01e-6 + 1e-7


def test_not_a_number_stops_and_restores_the_last_good_weights(work):
    gan, reference = small_gan(), small_gan()
    result = run("poison", gan, data=lambda i: ring(i) * (float("nan") if i == 15 else 1.0))
    assert "not finite" in result["stopped"]
    assert [row["step"] for row in result["measured"]] == [0, 10]

    def ends(gan):
        ends.left -= 1
        if ends.left < 0:
            raise KeyboardInterrupt
        return {}

    ends.left = 2
    with pytest.raises(KeyboardInterrupt):
        run("good", reference, measure=ends)
    assert_same_weights(gan, reference)


@pytest.mark.parametrize(
    ("term", "value", "before", "words"),
    [
        ("discriminator", 250.0, 1.0, "diverged"),
        ("generator", 101.0, 1.0, "diverged"),
        ("spread", 0.001, 0.002, "collapsed"),
        ("spread", 0.001, 1.0, ""),  # a generator may leave the spot that it starts on
        ("spread", 0.5, 0.001, ""),
    ],
)
def test_what_counts_as_failure(term, value, before, words):
    terms = {"discriminator": 1.0, "generator": 1.0, "spread": 1.0, term: value}
    state = TrainingState(None, None, None, 50, 0.0, terms, [{"training_spread": before}])
    if not words:
        return check_progress(state)
    with pytest.raises(ArithmeticError, match=f"{words} before step 50"):
        check_progress(state)


def test_a_collapsed_run_stops(work):
    gan = small_gan()
    with torch.no_grad():
        for p in gan.generator.parameters():
            p.mul_(1e-3)
    result = run("collapsed", gan, TRAINING._replace(learning_rate=1e-6))
    assert "collapsed before step 20" in result["stopped"]
    assert result["measured"][-1]["step"] == 10
