"""Every variant of chapter 5's model trains, resumes and is measured; collapse itself on smoke."""

import pytest
import torch
from torch import nn

from dgm.vae import gaussian_kl
from dgm_book import profiles
from dgm_book.chapters.pooling_vae import run
from dgm_book.chapters.pooling_vae.recipe import FILES, RECIPES, VARIANTS, Variant

SMOKE = profiles.get("smoke")
TINY = RECIPES["smoke"].settings["endings"]._replace(
    n_training=96, n_validation=40, n_test=40, embedding=6, hidden=8, latent_dim=3, steps=7,
    measure_every=3, ahead=4, n_likelihood=5, n_samples=10,
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("results_folder")


def recipe(**changes):
    settings = {"endings": TINY._replace(**changes)}
    return RECIPES["smoke"]._replace(settings=settings, n_watched=4, k_watched=3)


def train(variant, seed=0, **changes):
    return run.train(recipe(**changes), SMOKE, "endings", variant, seed)


def same_weights(a, b):
    return all(map(torch.equal, a.model.parameters(), b.model.parameters()))


@pytest.mark.parametrize("name", profiles.NAMES)
def test_profiles_name_runs_that_exist(name):
    runs = RECIPES[name].runs
    assert len(set(runs)) == len(runs)
    assert all(dataset in FILES and variant in VARIANTS for dataset, variant, _ in runs)
    assert not any(VARIANTS[v].front and dataset != "endings" for dataset, v, _ in runs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_and_comes_back_from_its_files(variant):
    first, resumed = (train(variant, 3) for _ in range(2))
    start = run.build_model(VARIANTS[variant], TINY, len(first.splits.vocabulary), 3)
    for a, b in zip(first.model.parameters(), start.parameters(), strict=True):
        assert torch.isfinite(a).all()
        assert not torch.equal(a, b)
    assert same_weights(first, resumed)
    assert [row["step"] for row in first.rows] == [0, 3, 6, 7]
    assert first.rows == resumed.rows
    assert first.frames.shape == (4, 40, 8)


def test_the_encoder_runs_ahead_until_its_information_falls(monkeypatch):
    """Legs of three steps: up, up, down; then the encoder learns beside the decoder."""
    information, ahead = iter([0.0, 0.5, 0.7, 0.6, 0.9]), []
    watch, steps = run.watch, run.aggressive_encoder_steps
    monkeypatch.setattr(run, "watch", lambda *a: {**watch(*a), "information": next(information)})
    counted = lambda *a, **b: ahead.append(steps(*a, **b))  # noqa: E731
    monkeypatch.setattr(run, "aggressive_encoder_steps", counted)
    train("aggressive", steps=12, ahead=100, most_ahead=2)
    assert ahead == [2] * 9
    assert next(information, None) is None


def test_the_encoder_runs_ahead_no_longer_than_it_may():
    rows = [{"information": x, "step": i} for i, x in enumerate((9.0, 0.1, 0.2))]
    assert run.still_ahead(rows, TINY)
    assert not run.still_ahead(rows, TINY._replace(ahead=2))
    falling = [{"information": x, "step": 0} for x in (0.0, 0.3, 0.2, 0.4)]
    assert not run.still_ahead(falling, TINY)


def test_the_learning_rate_is_halved_where_validation_stays():
    falling = [{"reconstruction": 30.0 - i, "kl": 1.0} for i in range(20)]
    assert run.halvings(falling) == 1.0
    assert run.halvings([falling[0]] * 15) == 1.0  # before the fifteenth epoch
    assert run.halvings(falling[:16] + [falling[15]] * 2) == 0.5
    assert run.halvings(falling[:16] + [falling[15]] * 4) == 0.25


def test_controls_change_the_features_as_they_say():
    x = torch.randint(4, 12, (5, 9), generator=torch.Generator().manual_seed(0))
    plain, scaled, normal = (
        run.build_model(variant, TINY, 12, 0).posterior.encoder(x)
        for variant in (Variant(), Variant(scale=4.0), Variant(layer_norm=True))
    )
    torch.testing.assert_close(scaled, 4 * plain)
    torch.testing.assert_close(normal, nn.functional.layer_norm(plain, (8,)))


@pytest.mark.parametrize("bias", [0.0, 1.0, -2.0])
def test_forget_gate_bias_sets_how_fast_a_state_is_forgotten(bias):
    model = run.build_model(Variant(forget_bias=bias), TINY, 12, 0)
    lstm = model.posterior.encoder.states.lstm
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.startswith("weight"):
                parameter.zero_()
            else:
                parameter.view(4, 8)[2] = 0  # nothing new is written
        c = torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(0))
        _, (_, after) = lstm(torch.zeros(1, 5, 6), (torch.zeros_like(c), c))
    torch.testing.assert_close(after, c * torch.sigmoid(torch.tensor(bias)) ** 5)


def test_measures_at_the_end_and_a_published_encoder_gives_them_again():
    result = run.result(recipe(), SMOKE, "endings", "mean", 0)
    final = result.values["final"]
    assert len(final["by_position"]) == 14
    assert sum(final["by_position"]) == pytest.approx(final["reconstruction"])
    assert max(final["log_likelihood"], final["hidden_log_likelihood"]) < 0
    assert sum(final["influence"]) <= 1 + 1e-9
    assert result.tensors["frames"].shape == (4, 40, 2)
    model, splits = run.load_encoder(result, recipe())
    loaded, exact = (run.encode(x, splits.test)[0] for x in (model, train("mean").model))
    torch.testing.assert_close(loaded, exact, atol=2e-3, rtol=2e-3)


def test_frames_keep_what_the_last_one_spreads_over():
    frames = torch.randn(3, 50, 6, generator=torch.Generator().manual_seed(0))
    frames[:, :, 2:] *= 1e-3
    flat = run.flatten_frames(frames)
    centred = frames - frames.mean(1, keepdim=True)
    assert flat.shape == (3, 50, 2)
    apart = [torch.cdist(points[0], points[0]) for points in (flat, centred)]
    torch.testing.assert_close(*apart, atol=2e-2, rtol=0)


def test_the_front_has_the_same_sentences_otherwise():
    back, front = (run.load_splits("endings", TINY, at) for at in (False, True))
    assert torch.equal(back.labels, front.labels)
    assert back.training.tokens.shape == front.training.tokens.shape == (96, 15)
    words = back.vocabulary.decode(back.training.tokens[0]).split()
    assert front.vocabulary.decode(front.training.tokens[0]).split() == words[-3:] + words[:-3]
    with pytest.raises(ValueError, match="yelp has none"):
        run.load_splits("yelp", TINY, front=True)


@pytest.mark.parametrize("variant", ["plain", "max"])
def test_on_sentences_that_end_alike_last_collapses_and_max_does_not(
    variant, monkeypatch, smoke_results
):
    """The smoke recipe, all but its first seed cut after 450 steps: at least 4 of 5 seeds."""

    def kl(seed, **changes):
        whole = RECIPES["smoke"]
        settings = {"endings": whole.settings["endings"]._replace(**changes)}
        trained = run.train(whole._replace(settings=settings), SMOKE, "endings", variant, seed)
        mu, logvar, _ = run.encode(trained.model, trained.splits.test)
        return float(gaussian_kl(mu, logvar).mean())

    values = []
    if smoke_results:
        with monkeypatch.context() as patch:
            patch.setenv("DGM_RESULTS", smoke_results)
            values.append(kl(0))
    monkeypatch.setattr(run, "watch", lambda *_: {"reconstruction": 0.0, "kl": 0.0})

    def expected():
        return sum(x < 0.1 if variant == "plain" else x > 1 for x in values)

    # The fifth is not needed where four are as expected, nor where two are not.
    while len(values) < 5 and expected() < 4 and len(values) - expected() < 2:
        values.append(kl(len(values), steps=450, measure_every=450))
    assert expected() >= 4, values
