"""Every kind of model of chapter 5 trains, resumes and is measured; on tiny sizes."""

import pytest
import torch

from dgm_book import profiles
from dgm_book.chapters.pooling_vae import training
from dgm_book.chapters.pooling_vae.training import KINDS, material, trained

SMOKE = profiles.get("smoke")
TINY = training.settings(SMOKE, "endings")._replace(
    n_training=96, n_validation=40, n_test=40, embedding=6, hidden=8, latent_dim=3, steps=7,
    measure_every=3, ahead=4, n_likelihood=5, n_samples=10,
)  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path))
    monkeypatch.setattr(training, "settings", lambda profile, dataset: TINY)
    monkeypatch.setattr(training, "N_WATCHED", 4)
    monkeypatch.setattr(training, "K_WATCHED", 3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_is_found_again(kind):
    found, again = (trained("endings", kind, SMOKE, 3) for _ in range(2))
    begun = training.built(KINDS[kind], TINY, len(found.material.vocabulary), 3)
    for a, b, c in zip(*(m.parameters() for m in (found.model, begun, again.model)), strict=True):
        assert torch.isfinite(a).all()
        assert not torch.equal(a, b)
        assert torch.equal(a, c)
    assert [row["step"] for row in found.rows] == [0, 3, 6, 7]
    assert found.rows == again.rows
    assert found.frames.shape == (4, 40, 8)


def test_measuring_does_not_change_the_training(monkeypatch, tmp_path):
    rarely = trained("endings", "max", SMOKE, 0).model
    monkeypatch.setattr(
        training, "settings", lambda profile, dataset: TINY._replace(measure_every=1)
    )
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "often"))
    often = trained("endings", "max", SMOKE, 0).model
    for a, b in zip(rarely.parameters(), often.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_interrupted_run_ends_where_a_whole_one_does(monkeypatch, tmp_path):
    whole = trained("endings", "annealing", SMOKE, 0)
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "other"))
    looks = []

    def stop(*a):
        looks.append(a)
        if len(looks) == 3:
            raise KeyboardInterrupt
        return real(*a)

    real = training.watched
    monkeypatch.setattr(training, "watched", stop)
    with pytest.raises(KeyboardInterrupt):
        trained("endings", "annealing", SMOKE, 0)
    again = trained("endings", "annealing", SMOKE, 0)
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    timed = ("seconds",)
    for a, b in zip(whole.rows, again.rows, strict=True):
        assert {k: v for k, v in a.items() if k not in timed} == {
            k: v for k, v in b.items() if k not in timed
        }


def test_a_frame_without_its_row_is_dropped(tmp_path):
    whole = trained("endings", "max", SMOKE, 0)
    (path,) = tmp_path.rglob("*.frames.safetensors")
    training.checkpoint.save(path, {"frames": torch.cat([whole.frames, whole.frames[-1:]])})
    again = trained("endings", "max", SMOKE, 0)
    assert torch.equal(again.frames, whole.frames)


def test_the_encoder_runs_ahead_until_its_information_falls(monkeypatch):
    """Legs of three steps: up, up, down; then the encoder learns beside the decoder."""
    told = iter([0.0, 0.5, 0.7, 0.6, 0.9])
    real = training.watched
    monkeypatch.setattr(training, "watched", lambda *a: {**real(*a), "information": next(told)})
    longer = TINY._replace(steps=12, ahead=100, most_ahead=2)
    monkeypatch.setattr(training, "settings", lambda profile, dataset: longer)
    ahead = []
    steps = training.aggressive_encoder_steps
    monkeypatch.setattr(
        training,
        "aggressive_encoder_steps",
        lambda *a, **options: ahead.append(steps(*a, **options)),
    )
    trained("endings", "aggressive", SMOKE, 0)
    assert ahead == [2] * 9
    assert next(told, None) is None


def test_the_encoder_runs_ahead_no_longer_than_it_may():
    assert training.still_ahead([{"information": 9.0}, {"information": 0.1}, {"information": 0.2}])
    assert not training.still_ahead([{"information": x} for x in (0.0, 0.3, 0.2, 0.4)])


def test_the_learning_rate_is_halved_where_validation_stays():
    falling = [{"reconstruction": 30.0 - i, "kl": 1.0} for i in range(20)]
    assert training.halvings(falling) == 1.0
    assert training.halvings([falling[0]] * 15) == 1.0  # before the fifteenth epoch
    assert training.halvings(falling[:16] + [falling[15]] * 2) == 0.5
    assert training.halvings(falling[:16] + [falling[15]] * 4) == 0.25


def test_measures_at_the_end():
    found = training.result(SMOKE, "endings", "max", 0)
    final = found.values["final"]
    assert len(final["by_position"]) == 14
    assert sum(final["by_position"]) == pytest.approx(final["reconstruction"])
    assert final["log_likelihood"] == pytest.approx(float(found.tensors["log_likelihood"].mean()))
    assert final["hidden_log_likelihood"] < 0
    assert 1 <= final["effective_samples"] <= 10
    assert set(final["features"]) == set(final["means"])
    assert sum(final["influence"]) <= 1 + 1e-9
    assert found.tensors["frames"].shape == (4, 40, 2)


def test_a_published_encoder_gives_its_measures_again():
    found = training.result(SMOKE, "endings", "mean", 0)
    model, m = training.reread(found)
    trained_model = trained("endings", "mean", SMOKE, 0).model
    mine, theirs = (training.posterior(x, m.test)[0] for x in (model, trained_model))
    torch.testing.assert_close(mine, theirs, atol=2e-3, rtol=2e-3)


def test_frames_keep_what_the_last_one_spreads_over():
    frames = torch.randn(3, 50, 6, generator=torch.Generator().manual_seed(0))
    frames[:, :, 2:] *= 1e-3
    flat = training.flat(frames)
    around = frames - frames.mean(1, keepdim=True)
    assert flat.shape == (3, 50, 2)
    torch.testing.assert_close(
        torch.cdist(flat[0], flat[0]), torch.cdist(around[0], around[0]), atol=2e-2, rtol=0
    )


def test_the_front_has_the_same_sentences_otherwise():
    back, front = (material("endings", TINY, at) for at in (False, True))
    assert torch.equal(back.labels, front.labels)
    assert back.training.tokens.shape == front.training.tokens.shape == (96, 15)
    text = back.vocabulary.decode(back.training.tokens[0]).split()
    assert front.vocabulary.decode(front.training.tokens[0]).split() == text[-3:] + text[:-3]


def test_what_cannot_be_trained():
    with pytest.raises(ValueError, match="has none"):
        trained("yelp", "front", SMOKE, 0)
    with pytest.raises(KeyError):
        trained("endings", "no such fix", SMOKE, 0)


def test_unknown_data_sets(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(ValueError, match="endings, yelp, ptb, captions, mr"):
        training.settings(SMOKE, "novels")
