"""Training a GAN: runs that are pairs, resume, and stop when they have failed."""

import pytest
import torch

from dgm.nets.conv import dcgan_discriminator, dcgan_generator
from dgm.papers.bre_gan import toy_discriminator, toy_generator
from dgm.train import TrainingState
from dgm_book import profiles
from dgm_book.chapters.bre_gan.recipe import Training
from dgm_book.chapters.bre_gan.run import GAN, check_progress, noise, train

TRAINING = Training(20, 64, 2e-3, n_measurements=2, weight=1.0, weight_falls=True)


def small_gan(seed=0):
    torch.manual_seed(seed)
    return GAN(toy_generator(), toy_discriminator(), 2)


def ring(i):
    angle = torch.rand(64, generator=torch.Generator().manual_seed(i)) * 6.3
    return torch.stack([angle.cos(), angle.sin()], 1)


def first_weights(gan):
    return {"first": float(next(gan.parameters()).detach().sum())}


def run(name, gan, training=TRAINING, data=ring, measure=first_weights, seed=0):
    return train(gan, data, training, profiles.get("smoke"), seed, name, measure)


def test_a_toy_gan_learns_a_spot(work):
    gan, spot = small_gan(2), torch.tensor([0.5, -0.4])

    def data(i):
        return spot + 0.1 * torch.randn(64, 2, generator=torch.Generator().manual_seed(i))

    def distance(gan):
        fakes = gan.generator(noise(500, gan, 9, 0, "cpu")).detach()
        return {"distance": float((fakes - spot).norm(dim=1).mean())}

    training = Training(300, 64, 2e-3, n_measurements=3)
    rows = run("spot", gan, training, data, distance, seed=2)["measured"]
    assert rows[0]["distance"] > 0.4
    assert rows[-1]["distance"] < 0.25  # of the data themselves it is 0.125


@pytest.mark.parametrize("penalty", [None, "r1"])
def test_one_fused_step_is_that_of_plain_adam(work, penalty, monkeypatch):
    """Fused Adam once paired the gradients of R1 with other weights, by their place in memory."""
    data = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    training = Training(3, 16, 1e-2, n_measurements=1, penalty=penalty)
    adam, weights = torch.optim.Adam, []
    for fused in (True, False):
        torch.manual_seed(0)
        generator = dcgan_generator(8, (16,), (1, 28), kernel=4, last_stride=2)
        discriminator = dcgan_discriminator((16, 32), (1, 28), first_stride=2, norm="none")
        gan = GAN(generator, discriminator, 8).to(memory_format=torch.channels_last)
        choice = {"fused": fused}
        monkeypatch.setattr(torch.optim, "Adam", lambda *a, k=choice, **b: adam(*a, **(b | k)))
        run(f"{penalty} {fused}", gan, training, lambda i: data)
        weights.append(torch.cat([p.detach().flatten() for p in gan.discriminator.parameters()]))
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)


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
    gan, weights = small_gan(), []
    result = run(
        "poison",
        gan,
        data=lambda i: ring(i) * (float("nan") if i == 15 else 1.0),
        measure=lambda gan: weights.append([p.clone() for p in gan.parameters()]) or {},
    )
    assert "not finite" in result["stopped"]
    assert [row["step"] for row in result["measured"]] == [0, 10]
    assert all(map(torch.equal, gan.parameters(), weights[-1]))


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
