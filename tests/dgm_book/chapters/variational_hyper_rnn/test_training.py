"""Chapter 6's models train, resume, are chosen and are measured; on tiny sizes."""

import json
import math
import shutil

import pytest
import torch

from dgm.sampling.switching import oracle_log_likelihood
from dgm_book import profiles
from dgm_book.chapters.variational_hyper_rnn import training
from dgm_book.chapters.variational_hyper_rnn.training import (
    MODELS,
    Part,
    can_compile,
    likelihoods,
    material,
    measured,
    name_of,
    per_step,
    result,
    trained,
)

SMOKE = profiles.get("smoke")
REAL_SETTINGS = training.settings
TINY = REAL_SETTINGS(SMOKE, "switching")._replace(
    n_steps=9, batch=6, epochs=3, measure_every=1, many=6
)
VHRNN, VRNN = "VHRNN 4", "VRNN 6"


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path))
    monkeypatch.setattr(training, "SIZES", (12, 5, 7))
    use(monkeypatch)
    material.cache_clear()
    yield
    material.cache_clear()


def use(monkeypatch, **changes):
    monkeypatch.setattr(training, "settings", lambda *_: TINY._replace(**changes))


def made_up(monkeypatch, name, rows):
    """Has a set of sequences load these in each split."""
    source = training.music if name in training.music.NAMES else training.series
    monkeypatch.setattr(source, "load", lambda dataset, split: rows[split])


def equal_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


class TestMaterial:
    def test_the_switching_system_is_cut_into_three(self):
        m = material("switching", TINY)
        assert [len(part.x) for part in m[:3]] == [12, 5, 7]
        whole = training.switching_dynamics(24, 0, "test", 9, training.matrices()).observations
        assert torch.equal(torch.cat([part.x for part in m[:3]]), whole.float())
        assert m.mean == pytest.approx(whole[:12].flatten(0, 1).mean(0), abs=1e-5)
        assert m.train.seen is None
        assert m.test.lengths.tolist() == [9] * 7

    def test_tunes_are_piano_rolls_that_no_split_shares(self):
        m = material("tunes", REAL_SETTINGS(SMOKE, "tunes"))
        assert {part.x.shape[-1] for part in m[:3]} == {88}
        of = [{row.numpy().tobytes() for row in part.x} for part in m[:3]]
        assert of[2].isdisjoint(of[0] | of[1])
        assert ((m.train.x == 0) | (m.train.x == 1)).all()

    def test_windows_hold_each_training_frame_once(self, monkeypatch):
        piece = torch.eye(88)[torch.arange(250) % 88].to(torch.uint8)
        rows = {split: [piece] for split in ("train", "validation", "test")}
        made_up(monkeypatch, "piano-midi", rows)
        m = material("piano-midi", REAL_SETTINGS(SMOKE, "piano-midi"))
        assert m.train.lengths.tolist() == [100, 100, 50]
        assert torch.equal(m.train.x.flatten(0, 1)[:250], piece.float())
        assert m.test.lengths.tolist() == [250]
        assert torch.allclose(m.mean, piece.float().mean(0))

    def test_what_was_not_read_is_marked_and_is_no_part_of_the_mean(self, monkeypatch):
        hole = torch.tensor([[1.0, math.nan], [3.0, 5.0]])
        rows = {"train": [hole, torch.tensor([[5.0, 7.0]])], "validation": [hole], "test": [hole]}
        made_up(monkeypatch, "gas-sensors", rows)
        m = material("gas-sensors", REAL_SETTINGS(SMOKE, "gas-sensors"))
        assert m.train.seen[0].tolist() == [[True, False], [True, True]]
        assert m.train.x[0].tolist() == [[1.0, 0.0], [3.0, 5.0]]
        assert m.train.lengths.tolist() == [2, 1]
        assert m.mean.tolist() == [3.0, 6.0]

    def test_an_unknown_set_is_answered_with_those_there_are(self):
        with pytest.raises(ValueError, match=r"'jazz'.*switching.*gas-sensors"):
            REAL_SETTINGS(SMOKE, "jazz")

    @pytest.mark.parametrize("profile", profiles.NAMES)
    def test_every_set_has_settings(self, profile):
        for dataset in MODELS:
            s = REAL_SETTINGS(profiles.get(profile), dataset)
            assert 0 < s.measure_every <= s.epochs
            assert s.compiled == (profile != "smoke")


class TestTraining:
    @pytest.mark.parametrize("model", [VHRNN, VRNN, "HyperLSTM"])
    def test_it_learns_and_is_found_again(self, monkeypatch, model):
        use(monkeypatch, epochs=6, measure_every=3)
        found, again = (trained("switching", model, SMOKE, 3) for _ in range(2))
        assert equal_weights(found.model, again.model)
        assert [row["epoch"] for row in found.rows] == [3, 6]
        assert found.rows == again.rows
        assert found.rows[1]["validation"] > found.rows[0]["validation"]

    def test_seeds_differ(self, monkeypatch):
        use(monkeypatch, epochs=1)
        assert not equal_weights(*(trained("switching", VRNN, SMOKE, n).model for n in (0, 1)))

    @pytest.mark.parametrize("killed_at", [1, 2, 3])
    def test_an_interrupted_run_ends_where_a_whole_one_does(self, monkeypatch, tmp_path, killed_at):
        """Of two steps an epoch: killed within the first, behind it, and within the second."""
        whole = trained("switching", VHRNN, SMOKE, 0)
        monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "parts"))
        fit = training.fit

        def killed(step, batches, *arguments, **options):
            def until(i):
                if i == killed_at:
                    raise KeyboardInterrupt
                return batches(i)

            return fit(step, until, *arguments, **{**options, "checkpoint_seconds": 0})

        with monkeypatch.context() as patch:
            patch.setattr(training, "fit", killed)
            with pytest.raises(KeyboardInterrupt):
                trained("switching", VHRNN, SMOKE, 0)
        steps = []
        monkeypatch.setattr(training, "minibatches", watched_batches(training.minibatches, steps))
        parts = trained("switching", VHRNN, SMOKE, 0)
        assert steps == list(range(killed_at, 6))
        assert parts.rows == whole.rows
        assert equal_weights(parts.model, whole.model)

    @pytest.mark.parametrize(("values", "best"), [([-1, -3, -2], 0), ([-3, -1, -2], 1)])
    def test_the_best_on_validation_is_kept(self, monkeypatch, values, best):
        seen, told = [], iter(values)

        def watched(net, part, *arguments):
            assert torch.equal(part.x, material("switching", TINY).validation.x)
            seen.append([p.detach().clone() for p in net.parameters()])

        monkeypatch.setattr(training, "likelihoods", watched)
        monkeypatch.setattr(training, "per_step", lambda *_: next(told))
        found = trained("switching", VRNN, SMOKE, 0)
        same = [
            all(torch.equal(a, b) for a, b in zip(one, found.model.parameters(), strict=True))
            for one in seen
        ]
        assert same == [i == best for i in range(3)]
        assert [row["validation"] for row in found.rows] == values

    def test_the_rate_falls_to_its_last_share(self, monkeypatch, tmp_path):
        use(monkeypatch, learning_rate=1e-2, last_rate=0.1)
        trained("switching", VRNN, SMOKE, 0)
        (path,) = tmp_path.rglob("*.training.safetensors")
        (group,) = training.checkpoint.load(path)["optimizer"]["param_groups"]
        # The last of six steps is five sixths of the way down.
        assert group["lr"] == pytest.approx(0.25 * 1e-2)

    def test_a_bound_that_is_not_finite_stops_it(self, monkeypatch):
        use(monkeypatch, learning_rate=1e30)
        with pytest.raises(FloatingPointError, match="loss"):
            trained("switching", VRNN, SMOKE, 0)

    @pytest.mark.parametrize("n_steps", [8, 9])  # as many as are compiled as one, and one more
    @pytest.mark.parametrize("resampled", [True, False])
    def test_several_steps_a_call_are_what_single_ones_are(self, monkeypatch, n_steps, resampled):
        """What is handed to the compiler, not compiled here: `make bench` does that."""
        paper = training.paper
        calls = []

        def steps(*arguments):
            calls.append(arguments)
            return paper._some_steps(*arguments)

        monkeypatch.setattr(paper, "_compiled_steps", lambda: steps)
        net = trained("switching", VHRNN, SMOKE, 0).model.double().requires_grad_(True)
        x = training.switching_dynamics(6, 3, n_steps=n_steps).observations
        lengths = n_steps - torch.arange(6) % 3
        told = []
        for compiled in (False, True):
            generator = torch.Generator().manual_seed(0)
            rule = "ess" if resampled else "never"
            of = paper.bound(net, x, lengths, 4, rule, generator, compiled=compiled)
            gradients = torch.autograd.grad(of.log_likelihood.sum(), list(net.parameters()))
            told.append([of.log_likelihood, of.ess, *gradients])
        for a, b in zip(*told, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
        assert len(calls) == math.ceil(n_steps / paper.AT_ONCE)
        strides = {tuple(v.stride() for v in arguments[3:5]) for arguments in calls}
        assert len(strides) == 1

    def test_it_trains_through_compiled_steps_where_it_can(self, monkeypatch, tmp_path):
        plain = trained("switching", VHRNN, SMOKE, 0)
        used = []

        def steps():
            used.append(True)
            return training.paper._some_steps

        monkeypatch.setattr(training.paper, "_compiled_steps", steps)
        use(monkeypatch, compiled=True)
        for can in (False, True):
            used.clear()
            monkeypatch.setenv("DGM_RESULTS", str(tmp_path / str(can)))
            monkeypatch.setattr(training, "can_compile", lambda device, can=can: can)
            found = trained("switching", VHRNN, SMOKE, 0)
            assert bool(used) == can
            for a, b in zip(found.model.parameters(), plain.model.parameters(), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)

    def test_a_cpu_needs_a_compiler(self, monkeypatch):
        for there in ("g++", "clang++", None):
            monkeypatch.setattr(shutil, "which", lambda name, there=there: there == name or None)
            assert can_compile("cpu") == (there is not None)
            assert can_compile("cuda")


def watched_batches(minibatches, steps):
    def watched(*arguments):
        batches = minibatches(*arguments)

        def at(i):
            steps.append(i)
            return batches(i)

        return at

    return watched


class TestMissing:
    @pytest.fixture
    def sensors(self, monkeypatch):
        generator = torch.Generator().manual_seed(0)
        rows = [torch.randn(n, 3, generator=generator) for n in (7, 5, 7, 6)]
        for row in rows:
            row[1, 0] = row[3, 2] = math.nan
        made_up(monkeypatch, "gas-sensors", dict.fromkeys(("train", "validation", "test"), rows))
        use(monkeypatch, layers=1, batch=2)

    def test_sequences_with_holes_train(self, sensors):
        found = trained("gas-sensors", "VHRNN 16", SMOKE, 0)
        assert all(math.isfinite(row["validation"]) for row in found.rows)
        assert all(torch.isfinite(p).all() for p in found.model.parameters())

    def test_what_stands_in_a_hole_changes_nothing(self, sensors):
        found = trained("gas-sensors", "VRNN 28", SMOKE, 0)
        part = found.material.test
        other = part._replace(x=torch.where(part.seen, part.x, 9.0))
        a, b = (likelihoods(found.model, of, 4, 0) for of in (part, other))
        assert torch.equal(a, b)
        read = Part(part.x, part.lengths, None)
        assert not torch.allclose(a, likelihoods(found.model, read, 4, 0))


class TestMeasures:
    def test_a_step_is_a_step_of_any_sequence(self):
        part = Part(torch.zeros(2, 4, 1), torch.tensor([4, 1]), None)
        assert per_step(torch.tensor([-8.0, -7.0]), part) == -3.0

    def test_of_a_model(self):
        found = trained("switching", VHRNN, SMOKE, 0)
        told = measured(found, TINY, 0)
        assert len(told["fivo"]) == training.REPEATS
        assert told["fivo"][0] == per_step(likelihoods(found.model, found.material.test, 4, 0),
                                           found.material.test)  # fmt: skip
        assert len(set(told["fivo"])) == training.REPEATS
        assert sum(told["by_sequence"]) / 7 == pytest.approx(sum(told["fivo"]) / 5, rel=1e-4)
        assert (told["n_sequences"], told["n_steps"]) == (7, 63)
        assert (told["live"], told["as_published"]) == (1424, 1568)
        assert told["elbo"] < told["fivo_many"]
        assert told["iwae"] != told["fivo"][0]

    def test_of_a_model_without_a_latent_variable(self):
        told = measured(trained("switching", "HyperLSTM", SMOKE, 0), TINY, 0)
        assert len(set(told["fivo"])) == 1
        assert told["fivo_many"] == told["fivo"][0]
        assert not {"elbo", "iwae", "as_published"} & set(told)

    def test_around_a_switch_and_along_the_noise(self, monkeypatch):
        """KL and deviations that are the truth's own land at their places."""
        monkeypatch.setattr(training, "SIZES", (12, 5, 40))
        s = TINY._replace(n_steps=30)
        asked = []

        def suite(name, s, real=training.suite):
            asked.append(real(name, s))
            return asked[-1]

        def trace(net, x, noise):
            of = asked[-1]
            draws = x.shape[1] // len(of.lengths)
            assert torch.equal(x[:, :40], of.observations.transpose(0, 1))
            kl = of.switches.double().T.repeat(1, draws)
            deviation = of.deviation.T.repeat(1, draws)[..., None].expand(-1, -1, 2)
            rest = dict.fromkeys(training.paper.Trace._fields)
            return training.paper.Trace(**{**rest, "kl": kl, "deviation_x": deviation})

        monkeypatch.setattr(training, "suite", suite)
        monkeypatch.setattr(training.paper, "trace", trace)
        net = training.build("switching", MODELS["switching"][VHRNN], s, 2)
        told = training.around_switches(training.Trained(net, None, []), s, 0)
        assert told["offsets"] == list(range(-10, 20))
        assert told["test"]["n"] == told["switch"]["n"] == 80
        for name in ("test", "switch"):
            assert told[name]["kl"][10] == 1.0
            assert max(told[name]["kl"][:10] + told[name]["kl"][11:]) < 0.5
        assert told["switch"]["kl"][11:] == [0.0] * 19  # the next one comes after 30 steps
        assert told["follows_noise"] == pytest.approx([1.0] * len(told["follows_noise"]))
        assert 20 < len(told["follows_noise"]) < 40  # in the others sigma never changes


class TestResults:
    def test_names(self):
        assert name_of("switching", "VRNN 6 matched", 2) == "switching-VRNN-6-matched-seed2"
        for dataset, models in MODELS.items():
            assert len({name_of(dataset, model, 0) for model in models}) == len(models)

    def test_weights_travel_with_some(self):
        kept = {
            (dataset, model, seed)
            for dataset, models in MODELS.items()
            for model in models
            for seed in (0, 1)
            if training.keeps_weights(dataset, model, seed)
        }
        assert {dataset for dataset, *_ in kept} == {"switching", "switching-long", "jsb", "tunes"}
        assert ("jsb", "VHRNN 28", 0) in kept
        assert not {("jsb", "VHRNN 28", 1), ("jsb", "VHRNN 24", 0)} & kept

    def test_of_a_run(self, monkeypatch):
        monkeypatch.setattr(training, "around_switches", lambda *_: {"test": 1})
        use(monkeypatch, epochs=1)
        found = result(SMOKE, "switching", VRNN, 0)
        assert found.values["suites"].keys() == set(training.SUITES[1:])
        assert len(found.values["suites"]["long"]["many"]) == 7
        assert found.values["n_training"] == 12
        assert found.tensors["input_mean"].shape == (2,)
        assert found.current
        json.dumps(found.values, allow_nan=False)
        deterministic = result(SMOKE, "switching", "HyperLSTM", 0)
        assert "suites" not in deterministic.values

    def test_the_truth_is_the_oracle_a_step(self):
        found = training.truth(SMOKE).values
        test = material("switching", TINY).test
        exact = oracle_log_likelihood(test.x, training.matrices()) / 9
        assert found["test"] == pytest.approx(exact.tolist(), rel=1e-5)
        rand = training.suite("rand", TINY)
        each = torch.stack([
            oracle_log_likelihood(rand.observations, rand.matrices, switches=n)
            for n in range(4)
        ])  # fmt: skip
        assert found["rand"] == pytest.approx((each.exp().mean(0).log() / 18).tolist(), rel=1e-5)
