"""Chapter 6's models train, resume, are chosen, measured and verified; on tiny sizes."""

import math
import shutil

import pytest
import torch

from dgm import checkpoint
from dgm.data.dynamics import SUITES, switching_dynamics
from dgm.papers.variational_hyper_rnn import Trace, oracle_log_likelihood, parameter_count
from dgm.sampling import particles
from dgm_book import jobs, profiles, results
from dgm_book.chapters.variational_hyper_rnn import recipe as plan
from dgm_book.chapters.variational_hyper_rnn import run as experiment
from dgm_book.chapters.variational_hyper_rnn.run import likelihoods, per_step, trained

SMOKE = profiles.get("smoke")
VHRNN, VRNN = "VHRNN 4", "VRNN 6"
SPLITS = ("train", "validation", "test")


def tiny(sequences=(12, 5, 7), **changes):
    """The smoke recipe with a few short sequences."""
    sizes = {"n_steps": 9, "batch": 6, "epochs": 3, "measure_every": 1, "n_many_particles": 6}
    recipe = plan.RECIPES["smoke"]
    training = {name: t._replace(**sizes | changes) for name, t in recipe.training.items()}
    return recipe._replace(sequences=sequences, training=training)


TINY = tiny()


@pytest.fixture(autouse=True)
def no_splits(results_folder):
    experiment.splits.cache_clear()
    yield
    experiment.splits.cache_clear()


def splits(dataset, recipe=TINY):
    return experiment.splits(dataset, recipe.training[dataset], recipe.sequences)


def load_instead(monkeypatch, dataset, rows):
    """Has a set of sequences load these in each split."""
    source = experiment.music if dataset in experiment.music.NAMES else experiment.series
    monkeypatch.setattr(source, "load", lambda name, split: rows[split])


def equal_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


class TestRecipe:
    @pytest.mark.parametrize("name", profiles.NAMES)
    def test_names_are_whole_and_every_run_is_a_model(self, name):
        profile, recipe = profiles.get(name, "cpu"), plan.RECIPES[name]
        absent = results.missing(jobs.over_seeds(experiment.run, 0)(profile))
        runs = experiment.runs(profile, recipe)
        probed = [
            n for d, m, n in runs if d == experiment.main_system(recipe) and m in plan.PAIR[d]
        ]
        others = len(probed) + len(experiment.walks(recipe)) + 3  # exact Bayes, lines, music
        assert len({n for n, _ in absent}) == len(absent) == len(runs) + others
        for dataset, model, n in runs:
            assert model in plan.MODELS[dataset]
            assert n >= 0
            assert set(plan.PAIR[dataset]) <= {m for d, m, _ in runs if d == dataset}
        for training in recipe.training.values():
            assert 0 < training.measure_every <= training.epochs
            assert training.compiled == (name != "smoke" and training.emission != "student_t")

    def counts(self, dataset, model):
        x_dim = 2 if dataset == "switching" else 88
        net = experiment.build(model, plan.RECIPES["small"].training[dataset], x_dim)
        return parameter_count(net), parameter_count(net, as_published=True)

    @pytest.mark.parametrize(("size", "width"), plan.MATCHED.items())
    def test_matched_models_have_as_many_live_weights_and_no_more(self, size, width):
        ours, published = self.counts("jsb", plan.JSB[f"VHRNN {size}"])
        matched, _ = self.counts("jsb", plan.JSB[f"VRNN {width} matched"])
        narrower, _ = self.counts("jsb", plan.Model("vrnn", width - 1, width - 1))
        assert narrower < ours <= matched
        theirs = self.counts("jsb", plan.JSB[f"VRNN {size}"])
        assert theirs[0] < ours
        assert abs(theirs[1] / published - 1) < 0.05

    def test_the_switching_system_s_models_are_matched(self):
        counts = {name: self.counts("switching", plan.SWITCHING[name]) for name in plan.MAIN}
        assert [counts[m][1] for m in ("VHRNN 4", "VRNN 6", "VRNN 8")] == [1568, 1516, 2612]
        matched = counts["VRNN 6 matched"][0]
        assert counts["VHRNN 4"][0] <= matched < 1.05 * counts["VHRNN 4"][0]


class TestSplits:
    def test_the_switching_system_is_cut_into_three(self):
        data = splits("switching")
        assert [len(part.x) for part in data[:3]] == [12, 5, 7]
        whole = switching_dynamics(24, 0, "test", 9, experiment.matrices()).observations
        assert torch.equal(torch.cat([part.x for part in data[:3]]), whole.float())
        assert data.mean == pytest.approx(whole[:12].flatten(0, 1).mean(0), abs=1e-5)
        assert data.train.observed_mask is None
        assert data.test.lengths.tolist() == [9] * 7

    def test_tunes_are_piano_rolls_that_no_split_shares(self):
        data = splits("tunes")
        train, validation, test = ({row.numpy().tobytes() for row in p.x} for p in data[:3])
        assert test.isdisjoint(train | validation)
        assert {part.x.shape[-1] for part in data[:3]} == {88}
        assert ((data.train.x == 0) | (data.train.x == 1)).all()

    def test_windows_hold_each_training_frame_once(self, monkeypatch):
        piece = torch.eye(88)[torch.arange(250) % 88].to(torch.uint8)
        load_instead(monkeypatch, "piano-midi", {split: [piece] for split in SPLITS})
        data = splits("piano-midi")
        assert data.train.lengths.tolist() == [100, 100, 50]
        assert torch.equal(data.train.x.flatten(0, 1)[:250], piece.float())
        assert data.test.lengths.tolist() == [250]
        assert torch.allclose(data.mean, piece.float().mean(0))

    def test_what_was_not_read_is_marked_and_is_no_part_of_the_mean(self, monkeypatch):
        """Of increments: a hole takes the one into it and the one out of it away."""
        hole = torch.tensor([[1.0, 2.0], [3.0, 6.0], [9.0, math.nan], [9.0, 5.0], [9.0, 9.0]])
        rows = {"train": [hole, hole[:2]], "validation": [hole], "test": [hole]}
        load_instead(monkeypatch, "gas-sensors", rows)
        data = splits("gas-sensors")
        assert data.train.observed_mask[0, :, 1].tolist() == [True, False, False, True]
        scale = torch.tensor([2.0, 6, 0, 0, 2]).std(correction=0)
        assert torch.allclose(data.train.x[0, :, 0], torch.tensor([2.0, 6, 0, 0]) / scale)
        assert data.train.lengths.tolist() == [4, 1]

    def test_the_unit_of_increments_changes_no_likelihood(self, monkeypatch):
        """A model of scaled increments, its logs added back, is that of the values themselves."""
        generator = torch.Generator().manual_seed(0)
        rows = [torch.randn(n, 3, generator=generator).cumsum(0) for n in (8, 6, 7)]
        load_instead(monkeypatch, "stocks", dict.fromkeys(SPLITS, rows))
        data = splits("stocks")
        frames = torch.cat([row.diff(dim=0) for row in rows])
        scale = frames.std(0, correction=0)
        for i, row in enumerate(rows):
            assert torch.allclose(data.test.x[i, : len(row) - 1], row.diff(dim=0) / scale)
            assert data.test.scaling[i] == pytest.approx(float(-(len(row) - 1) * scale.log().sum()))
        wide = {name: [1000 * row for row in rows] for name in SPLITS}
        values = experiment.walk_values("stocks", TINY)
        load_instead(monkeypatch, "stocks", wide)
        experiment.splits.cache_clear()
        shift = 3 * math.log(1000)
        assert experiment.walk_values("stocks", TINY)["per_step"] == pytest.approx(
            values["per_step"] - shift, abs=1e-3
        )


class TestTraining:
    @pytest.mark.parametrize("model", [VHRNN, VRNN, "HyperLSTM"])
    def test_it_learns_is_chosen_on_validation_and_repeats(self, monkeypatch, tmp_path, model):
        recipe = tiny(epochs=6, measure_every=3)
        net, rows = trained("switching", model, SMOKE, 3, recipe)
        assert [row["epoch"] for row in rows] == [3, 6]
        values = [row["validation"] for row in rows]
        assert values[1] > values[0]
        validation = splits("switching", recipe).validation
        assert per_step(likelihoods(net, validation, 4, 3), validation) == max(values)
        monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "again"))
        repeated, same_rows = trained("switching", model, SMOKE, 3, recipe)
        assert equal_weights(net, repeated)
        assert rows == same_rows
        assert not equal_weights(net, trained("switching", model, SMOKE, 4, recipe)[0])

    def test_the_rate_falls_to_its_last_share(self, tmp_path):
        trained("switching", VRNN, SMOKE, 0, tiny(learning_rate=1e-2, last_rate=0.1))
        (path,) = tmp_path.rglob("*.training.safetensors")
        (group,) = checkpoint.load(path)["optimizer"]["param_groups"]
        # The last of six steps is five sixths of the way down.
        assert group["lr"] == pytest.approx(0.25 * 1e-2)

    def test_it_trains_through_compiled_steps_where_it_can(self, monkeypatch, tmp_path):
        plain, _ = trained("switching", VHRNN, SMOKE, 0, TINY)
        calls = []

        def steps():
            calls.append(True)
            return particles._several_steps

        monkeypatch.setattr(particles, "_compiled_steps", steps)
        for can in (False, True):
            calls.clear()
            monkeypatch.setenv("DGM_RESULTS", str(tmp_path / str(can)))
            monkeypatch.setattr(experiment, "can_compile", lambda device, can=can: can)
            net, _ = trained("switching", VHRNN, SMOKE, 0, tiny(compiled=True))
            assert bool(calls) == can
            for a, b in zip(net.parameters(), plain.parameters(), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("there", ["g++", "clang++", None])
    def test_a_cpu_needs_a_compiler(self, monkeypatch, there):
        monkeypatch.setattr(shutil, "which", lambda name: there == name or None)
        assert experiment.can_compile("cpu") == (there is not None)
        assert experiment.can_compile("cuda")

    @pytest.mark.parametrize("model", ["VHRNN 16", "VRNN 28"])
    def test_what_stands_in_a_hole_changes_nothing(self, monkeypatch, model):
        generator = torch.Generator().manual_seed(0)
        rows = [torch.randn(n, 3, generator=generator) for n in (7, 5, 7, 6)]
        for row in rows:
            row[1, 0] = row[3, 2] = math.nan
        load_instead(monkeypatch, "gas-sensors", dict.fromkeys(SPLITS, rows))
        net, measurements = trained("gas-sensors", model, SMOKE, 0, tiny(batch=2))
        assert all(math.isfinite(row["validation"]) for row in measurements)
        assert all(torch.isfinite(p).all() for p in net.parameters())
        test = splits("gas-sensors", tiny(batch=2)).test
        other = test._replace(x=torch.where(test.observed_mask, test.x, 9.0))
        whole = test._replace(observed_mask=None)
        a, b, c = (likelihoods(net, sequences, 4, 0) for sequences in (test, other, whole))
        assert torch.equal(a, b)
        assert not torch.allclose(a, c)


class TestMeasures:
    def test_a_step_is_a_step_of_any_sequence(self):
        sequences = experiment.Sequences(torch.zeros(2, 4, 1), torch.tensor([4, 1]), None)
        assert per_step(torch.tensor([-8.0, -7.0]), sequences) == -3.0

    def test_around_a_switch_and_along_the_noise(self, monkeypatch):
        """KL and deviations that are the truth's own land at their places."""
        recipe, suites, real = tiny((12, 5, 40), n_steps=30), [], experiment.suite

        def suite(name, recipe):
            suites.append(real(name, recipe))
            return suites[-1]

        def trace(net, x, noise):
            data = suites[-1]
            draws = x.shape[1] // len(data.lengths)
            assert torch.equal(x[:, :40], data.observations.transpose(0, 1))
            kl = data.switches.double().T.repeat(1, draws)
            deviation = data.deviation.T.repeat(1, draws)[..., None].expand(-1, -1, 2)
            return Trace(*7 * [None], *2 * [None])._replace(kl=kl, deviation_x=deviation)

        monkeypatch.setattr(experiment, "suite", suite)
        monkeypatch.setattr(experiment.paper, "trace", trace)
        net = experiment.build(plan.SWITCHING[VHRNN], recipe.training["switching"], 2)
        values = experiment.around_switches(net, recipe, 0)
        assert values["offsets"] == list(range(-10, 20))
        for name in ("test", "switch"):
            assert values[name]["kl"][10] == 1.0
            assert max(values[name]["kl"][:10] + values[name]["kl"][11:]) < 0.5
        assert values["switch"]["kl"][11:] == [0.0] * 19  # the next one comes after 30 steps
        assert values["follows_noise"] == pytest.approx([1.0] * len(values["follows_noise"]))
        assert 20 < len(values["follows_noise"]) < 40  # in the others sigma never changes

    def test_the_result_of_a_run(self):
        recipe = tiny(epochs=1)._replace(around=(-2, 3))
        result = experiment.result(SMOKE, "switching", VHRNN, 0, recipe)
        values, final = result.values, result.values["final"]
        assert values["suites"].keys() == set(SUITES[1:])
        assert len(values["suites"]["long"]["few"]) == 7
        assert values["n_training"] == 12
        assert result.current
        test = splits("switching", recipe).test
        net = experiment.reread(result, "switching", VHRNN, recipe)
        assert final["fivo"][0] == per_step(likelihoods(net, test, 4, 0), test)
        assert len(set(final["fivo"])) == experiment.REPEATS
        assert sum(final["by_sequence"]) / 7 == pytest.approx(sum(final["fivo"]) / 5, rel=1e-4)
        assert (final["n_sequences"], final["live"], final["as_published"]) == (7, 1424, 1568)

    def test_the_result_of_a_model_without_a_latent_variable(self):
        values = experiment.result(SMOKE, "switching", "HyperLSTM", 0, tiny(epochs=1)).values
        assert not {"suites", "switches"} & set(values)
        assert {values["final"]["fivo_many"]} == set(values["final"]["fivo"])
        assert "as_published" not in values["final"]

    def test_the_truth_is_the_oracle_per_step(self):
        values = experiment.truth(SMOKE, TINY).values
        exact = oracle_log_likelihood(splits("switching").test.x, experiment.matrices()) / 9
        assert values["test"] == pytest.approx(exact.tolist(), rel=1e-5)
