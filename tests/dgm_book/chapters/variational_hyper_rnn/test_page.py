"""Chapter 6: its tables and claims on made-up results, its page and its verification on trained ones."""

import json
import os

import numpy as np
import pytest
import torch

from dgm.papers.variational_hyper_rnn import parameter_count
from dgm_book import jobs, profiles, results
from dgm_book.chapters import all_claims
from dgm_book.chapters.variational_hyper_rnn import page as experiment
from dgm_book.chapters.variational_hyper_rnn import training
from dgm_book.chapters.variational_hyper_rnn.page import PAIR, SUITES
from dgm_book.results import Result
from dgm_book.widgets.hyper_weights import HyperWeights

SMOKE = profiles.get("smoke")
SMALL = profiles.get("small", "cpu")
# Where `make test` has just trained the chapter at smoke size; without it shorter runs are trained here.
SMOKE_RESULTS = os.environ.get("DGM_RESULTS")
EXACT = -4.0  # nats a step, of the made-up oracle
LIVE = {"VHRNN 4": 1424, "VRNN 6": 1204, "VRNN 8": 2068, "VRNN 6 matched": 1456}


def made(dataset, model, seed, level, rise=1.0, follows=0.5, live=100):
    """A result whose bounds are at a level, and whose KL divergence rises so far at a switch."""
    level = level + 1e-3 * seed
    values = {
        "n_training": 5,
        "rows": [{"epoch": i, "validation": level - 1 / i} for i in (1, 2)],
        "final": {
            "fivo": [level - 0.01, level + 0.01],
            "fivo_many": level + 0.1,
            "by_sequence": [level - 0.5, level + 0.5, level + 0.3],
            "by_sequence_many": [level - 0.4, level + 0.6, level + 0.4],
            "n_sequences": 3,
            "live": live,
        },
    }
    if model != "HyperLSTM":
        values["final"] |= {"as_published": live + 7, "elbo": level - 1, "iwae": level - 0.5}
        far = [level - 1e9, *20 * [level], level + 0.2]  # one sequence explodes
        values["suites"] = {name: {"few": far, "many": far} for name in SUITES[1:]}
        kl = 10 * [1.0] + 5 * [1.0 + rise] + 5 * [1.0 + rise / 2] + 10 * [1.0 + rise / 4]
        at = {"kl": [v + 1e-3 * seed * v for v in kl], "standard_error": 30 * [0.1], "n": 9}
        values["switches"] = {"offsets": list(range(-10, 20)), "test": at, "switch": at}
        values["switches"]["follows_noise"] = [follows + 1e-3 * seed, follows]
    provenance = {"seed": seed, "profile": "small", "device": "a machine", "data": {}}
    return Result(training.name_of(dataset, model, seed), values, {}, provenance, True)


def level_of(dataset, model):
    """VHRNN is better everywhere, and below the oracle."""
    return EXACT - (1.0 if model.startswith("VHRNN") else 2.0)


@pytest.fixture
def small(monkeypatch):
    """The chapter at the small profile, from made-up results."""

    def result(profile, dataset, model, seed):
        live = 110 if dataset == "jsb" and model.startswith("VHRNN") else LIVE.get(model, 100)
        return made(dataset, model, seed, level_of(dataset, model), live=live)

    truth = result(SMALL, "switching", "VRNN 6", 0)._replace(
        name="switching-oracle", values={"test": [EXACT - 0.5, EXACT + 0.5, EXACT]}
    )
    monkeypatch.setattr(training, "result", result)
    monkeypatch.setattr(training, "truth", lambda profile: truth)
    monkeypatch.setattr(profiles, "get", lambda name, device=None: SMALL)
    return experiment.chapter("small")


def changed(found, dataset, model, **changes):
    """The chapter with a model's results made anew."""
    old = found.sets[dataset][model]
    changes = {
        "level": level_of(dataset, model),
        "live": old[0].values["final"]["live"],
        **changes,
    }
    new = [made(dataset, model, r.provenance["seed"], **changes) for r in old]
    return found._replace(sets={**found.sets, dataset: {**found.sets[dataset], model: new}})


def with_values(found, dataset, model, group, **changes):
    """The chapter with some of a model's measurements replaced."""
    new = [
        r._replace(values={**r.values, group: {**r.values[group], **changes}})
        for r in found.sets[dataset][model]
    ]
    return found._replace(sets={**found.sets, dataset: {**found.sets[dataset], model: new}})


def first_seed(found):
    sets = {
        dataset: {model: of[:1] for model, of in models.items()}
        for dataset, models in found.sets.items()
    }
    return found._replace(sets=sets)


def claim(found, words):
    (one,) = [c for c in experiment.claims(found) if words in c.claim]
    return one


def verdict(found, words):
    return claim(found, words).verdict


class TestPlan:
    @pytest.mark.parametrize("name", profiles.NAMES)
    def test_names_are_whole_and_every_run_is_a_model(self, name, monkeypatch, tmp_path):
        monkeypatch.setenv("DGM_RESULTS", str(tmp_path))
        profile = profiles.get(name, "cpu")
        names = [n for n, _ in results.missing(jobs.over_seeds(experiment.run, 0)(profile))]
        assert len(set(names)) == len(names) == len(experiment.runs(profile)) + 1
        sets = {}
        for dataset, model, n in experiment.runs(profile):
            assert model in training.MODELS[dataset]
            assert 0 <= n < profile.n_seeds
            sets.setdefault(dataset, set()).add(model)
        for dataset, models in sets.items():
            assert set(PAIR[dataset]) <= models
        if name != "smoke":
            wanted = set(training.MODELS) - {"tunes", "nottingham", "musedata"}
            assert set(sets) == wanted
            read = {model for models in experiment.ABLATIONS.values() for model in models}
            assert read <= sets["jsb"] | sets["switching-long"]

    def test_tables_of_the_paper_have_their_seeds(self):
        runs = experiment.runs(SMALL)
        for dataset, models, seeds in (
            ("switching", experiment.MAIN, [0, 1, 2]),
            ("switching-long", experiment.LONGEST, [0, 1, 2]),
            ("switching-long", experiment.ONE_SEED, [0]),
            ("jsb", experiment.table_two(), [0]),
        ):
            for model in models:
                assert [n for d, m, n in runs if (d, m) == (dataset, model)] == seeds

    def live(self, dataset, how):
        s = training.settings(SMALL, dataset)
        net = training.build(dataset, how, s, 2 if dataset == "switching" else 88)
        return parameter_count(net), parameter_count(net, as_published=True)

    @pytest.mark.parametrize(("size", "width"), experiment.MATCHED.items())
    def test_matched_models_have_as_many_live_weights_and_no_more_than_that(self, size, width):
        ours, published = self.live("jsb", training.JSB[f"VHRNN {size}"])
        matched = self.live("jsb", training.JSB[f"VRNN {width} matched"])[0]
        narrower = self.live("jsb", training.Model("vrnn", width - 1, width - 1))[0]
        assert narrower < ours <= matched
        theirs = self.live("jsb", training.JSB[f"VRNN {size}"])
        assert theirs[0] < ours
        assert abs(theirs[1] / published - 1) < 0.05

    def test_the_switching_systems_models_are_matched(self):
        names = ("VHRNN 4", "VRNN 6", "VRNN 8", "VRNN 6 matched")
        live = {m: self.live("switching", training.SWITCHING[m]) for m in names}
        assert [live[m][1] for m in ("VHRNN 4", "VRNN 6", "VRNN 8")] == [1568, 1516, 2612]
        assert live["VHRNN 4"][0] <= live["VRNN 6 matched"][0] < 1.05 * live["VHRNN 4"][0]


class TestSummaries:
    def test_by_hand(self):
        values = [-1e9, *(float(i * i) for i in range(1, 19)), 1e9]
        # Of 20, two are left out at either end.
        assert experiment.summary(values, "trimmed mean") == sum(i * i for i in range(2, 18)) / 16
        assert experiment.summary([3.0, 1.0, -1e9, 2.0], "median") == 1.5
        assert experiment.summary([3.0, 1.0, 5.0], "mean") == 3.0
        assert experiment.summary([3.0, 1.0, 5.0], "trimmed mean") == 3.0
        with pytest.raises(ValueError, match=r"'mode'.*trimmed mean"):
            experiment.summary([1.0], "mode")

    def test_effects_pair_the_seeds_that_both_have(self):
        level = {0: 5.0, 1: 7.0, 2: 100.0}
        one = [made("jsb", "a", n, level[n]) for n in (1, 0)]
        other = [made("jsb", "b", n, level[n] - 1 - n) for n in (0, 1, 2)]
        found = experiment.effect({"a": one, "b": other}, "a", "b")
        assert found.n == 2
        assert found.mean == pytest.approx(1.5)
        assert found.low < 1 < 2 < found.high
        assert experiment.effect({"a": one}, "a", "b") is None
        assert experiment.effect({"b": one}, "a", "b") is None

    def test_differences_of_sequences_are_of_the_first_seed(self, small):
        found = experiment.by_sequence(small.sets["jsb"], "VHRNN 28", "VRNN 28")
        assert found.n == 3
        assert found.mean == pytest.approx(1.0)

    def test_numbers(self):
        several = [made("jsb", "a", 0, v) for v in (1.0, 2.0, 6.0)]
        assert experiment.spread(several, experiment.few, 2) == "3.00 ± 1.53"
        assert experiment.spread(several[:1], experiment.many) == "1.100"
        assert experiment.number(-123456.0) == "-1.2e+05"
        assert experiment.interval(None) == "not run"
        pair = experiment.paired_difference([1.0, 2.0], [0.0, 0.0])
        assert experiment.interval(pair, 1) == "+1.5 [-4.9, +7.9]"
        assert "one seed" in experiment.told(experiment.paired_difference([1.0], [0.0]))
        huge = experiment.paired_difference([1e6, 2e6], [0.0, 0.0])
        assert "e+06" in experiment.told(huge)
        assert "2 seeds" in experiment.told(huge)

    def test_rise_and_decay_of_the_divergence(self):
        result = made("switching", "VHRNN 4", 0, 0.0, rise=2.0)
        assert experiment.kl_rise(result, "test") == pytest.approx(2.0)
        assert experiment.kl_decay(result, "switch") == pytest.approx(1.5)


class TestTables:
    def tables(self, found):
        for dataset in found.sets:
            yield experiment.table(found, dataset)
        for how in ("mean", "median", "trimmed mean"):
            yield experiment.suites(found, how)
        for other in experiment.MAIN[1:]:
            yield experiment.suite_differences(found, other)
        yield from (experiment.sizes(found), experiment.ablation(found), experiment.others(found))

    @pytest.mark.parametrize("seeds", ["all", "one"])
    def test_no_cell_is_empty(self, small, seeds):
        found = small if seeds == "all" else first_seed(small)
        for head, rows in self.tables(found):
            assert rows
            assert all(len(row) == len(head) for row in rows)
            for cell in (*head, *(cell for row in rows for cell in row)):
                assert isinstance(cell, str)
                assert cell.strip()
                assert "nan" not in cell
                assert "inf" not in cell

    def test_of_the_switching_system(self, small):
        head, rows = experiment.table(small, "switching-long")
        assert head[3:5] == ["4 particles", "128 particles"]
        by_model = {row[0]: row for row in rows}
        assert by_model["VHRNN 4"] == [
            "VHRNN 4", "1,431", "1,424", "-4.999 ± 0.001", "-4.899 ± 0.001", "3", "-4.68",
        ]  # fmt: skip
        assert by_model["HyperLSTM"][1] == "not in the paper"
        assert rows[-1][0] == "exact Bayes"
        assert rows[-1][3] == "-4.000"

    def test_of_the_suites(self, small):
        """One of 22 sequences explodes: it takes the mean away, and nothing else."""
        _, rows = experiment.suite_differences(small, "VRNN 8")
        assert [row[0] for row in rows] == list(SUITES[1:])
        assert [row[1:3] for row in rows] == 6 * [2 * ["+1.000 [+1.000, +1.000]"]]
        assert {row[0] for row in experiment.suites(small)[1]}.isdisjoint({"HyperLSTM"})

    def test_of_the_sizes(self, small):
        _, rows = experiment.sizes(small)
        assert rows[1][:2] == ["VHRNN 24 minus VRNN 27 matched", "+10.0%"]
        assert rows[1][2].startswith("+1.000")

    def test_badges(self, small):
        assert experiment.badge(small, "stocks") == (
            "profile small · stocks, 3 test sequences · 1 seed · a machine"
        )
        old = small.sets["switching"]["VRNN 8"]
        old[1] = old[1]._replace(current=False)
        assert experiment.badge(small, "switching").endswith("earlier code")

    def test_the_music_of_the_page(self, small):
        assert small.music == "jsb"
        without = {k: v for k, v in small.sets.items() if k != "jsb"}
        assert small._replace(sets=without).music == "tunes"


class TestClaims:
    def test_all_are_told_in_words(self, small):
        for found in (small, first_seed(small)):
            told = experiment.claims(found)
            assert len(told) == 15
            assert len({c.claim for c in told}) == 15
            for c in told:
                assert c.chapter == training.CHAPTER
                assert all(c)
                assert "nan" not in c.measured
                assert "inf" not in c.measured.replace("inference", "")

    def test_of_sets_that_were_not_run_there_are_none(self, small):
        """As at smoke size."""
        sets = {"switching": {m: small.sets["switching"][m] for m in PAIR["switching"]}}
        told = experiment.claims(first_seed(small._replace(sets=sets)))
        assert len(told) == 5
        assert {c.verdict for c in told if "exact Bayes" not in c.claim} == {"not tested"}

    def test_one_seed_gives_no_verdict_of_a_method(self, small):
        """But where what is paired are the three sizes of a model."""
        told = experiment.claims(first_seed(small))
        words = ("No model beats exact Bayes", "Table 2 compares models", "On JSB Chorales")
        rest = {c.verdict for c in told if not c.claim.startswith(words)}
        assert rest == {"not tested"}

    def test_other_sets_have_one_seed_and_no_verdict(self, small):
        for words in ("Piano-midi", "stocks", "gas sensors", "exchange rates"):
            assert verdict(small, words) == "not tested"
            assert "one seed" in claim(small, words).measured
        several = [made("stocks", "VHRNN 16", n, -5.0) for n in range(3)]
        models = {
            "VHRNN 16": several,
            "VRNN 28": [made("stocks", "VRNN 28", n, -6.0) for n in range(3)],
        }
        three = small._replace(sets={**small.sets, "stocks": models})
        assert verdict(three, "stocks") == "holds"

    @pytest.mark.parametrize(
        ("dataset", "other"),
        [("switching", model) for model in experiment.MAIN[1:]]
        + [("switching-long", model) for model in ("VRNN 8", "VRNN 6 matched")],
    )
    def test_switching(self, small, dataset, other):
        """Each of two claims hangs on its own runs."""
        words = {
            "switching": "after a third of the epochs",
            "switching-long": "On the switching system VHRNN has",
        }
        assert {verdict(small, of) for of in words.values()} == {"holds"}
        as_good = changed(small, dataset, other, level=level_of(dataset, "VHRNN 4"))
        many = with_values(small, dataset, other, "final", fivo_many=0.0)
        for found in (as_good, many):
            for name, of in words.items():
                assert verdict(found, of) == ("does not hold" if name == dataset else "holds")

    @pytest.mark.parametrize("name", SUITES[1:])
    def test_extrapolation(self, small, name):
        words = "never showed"
        assert verdict(small, words) == "holds"
        worse = {name: {"few": 22 * [-9.0], "many": 22 * [-9.0]}}
        assert verdict(
            with_values(small, "switching-long", "VHRNN 4", "suites", **worse), words
        ) == ("does not hold")
        exploded = with_values(
            small, "switching-long", "VHRNN 4", "suites",
            **{name: {"few": [-1e30, -1e30, *20 * [-5.0]], "many": []}},
        )  # fmt: skip
        assert verdict(exploded, words) == "holds"

    def test_exact_bayes(self, small):
        words = "No model beats exact Bayes"
        assert verdict(small, words) == "holds"
        assert "VHRNN 4" in claim(small, words).measured
        exact = small.truth.values["test"]
        above = with_values(
            small, "switching-long", "VRNN 8", "final", by_sequence_many=[v + 0.1 for v in exact]
        )
        assert verdict(above, words) == "does not hold"
        noisy = with_values(
            small, "switching-long", "VRNN 8", "final",
            by_sequence_many=[exact[0] + 1, exact[1] - 1, exact[2] + 0.1],
        )  # fmt: skip
        assert verdict(noisy, words) == "holds"

    @pytest.mark.parametrize("size", experiment.SIZES)
    def test_chorales(self, small, size):
        published, matched = "same latent size", "no more live weights"
        assert verdict(small, published) == verdict(small, matched) == "not tested"  # one seed
        three = {
            model: [of[0]._replace(provenance=of[0].provenance | {"seed": n}) for n in range(3)]
            for model, of in small.sets["jsb"].items()
        }
        small = small._replace(sets=small.sets | {"jsb": three})
        level = level_of("jsb", f"VHRNN {size}")
        for other, verdicts in (
            (f"VRNN {size}", ("does not hold", "holds")),
            (f"VRNN {experiment.MATCHED[size]} matched", ("holds", "does not hold")),
        ):
            found = changed(small, "jsb", other, level=level + 3)
            assert (verdict(found, published), verdict(found, matched)) == verdicts

    def test_counts(self, small):
        words = "Table 2 compares"
        assert verdict(small, words) == "does not hold"
        assert claim(small, words).measured.count("10.0%") == 3
        alike = small
        for size in experiment.SIZES:
            assert verdict(alike, words) == "does not hold"
            alike = changed(alike, "jsb", f"VHRNN {size}", live=104)
        assert verdict(alike, words) == "holds"

    def test_ablation(self, small):
        found = changed(small, "jsb", "VHRNN 32 wide hidden", level=-7.25)
        told = claim(found, "the hyper networks do best")
        assert told.verdict == "not tested"
        assert told.measured.count("hidden") == told.measured.count("both") == 3
        assert "hidden -7.250" in told.measured

    def test_around_switches(self, small):
        words = "rises when the system switches"
        assert verdict(small, words) == "holds"
        flat = changed(small, "switching-long", "VHRNN 4", rise=0.0)
        assert verdict(flat, words) == "does not hold"
        baseline = changed(small, "switching-long", "VRNN 6 matched", rise=-1.0)
        assert verdict(baseline, words) == "holds"

    def test_predicted_deviations(self, small):
        words = "follows the noise"
        assert verdict(small, words) == "holds"
        unmoved = changed(small, "switching-long", "VHRNN 4", follows=-0.1)
        assert verdict(unmoved, words) == "does not hold"

    def test_latent_variable(self, small):
        words = "worth its place"
        assert verdict(small, words) == "holds"
        better = changed(small, "switching-long", "HyperLSTM", level=-1.0)
        assert verdict(better, words) == "does not hold"

    def test_nothing_published_claims_nothing(self, monkeypatch, tmp_path):
        monkeypatch.setenv("DGM_RESULTS", str(tmp_path))
        assert all_claims() == []


@pytest.fixture(scope="module")
def folder(work, tmp_path_factory):
    """A results folder, and sizes, of the chapter at smoke size."""
    if SMOKE_RESULTS:
        work.setenv("DGM_RESULTS", SMOKE_RESULTS)
    else:
        real = training.settings
        work.setattr(training, "SIZES", (32, 16, 24))

        def shorter(profile, dataset):
            s = real(profile, dataset)
            return s._replace(epochs=1) if profile.name == "smoke" else s

        work.setattr(training, "settings", shorter)
    training.material.cache_clear()
    yield
    training.material.cache_clear()


@pytest.fixture(scope="module")
def found(folder):
    return experiment.chapter("smoke")


class TestSmoke:
    def test_the_chapter_is_whole(self, found):
        assert found.sets.keys() == {"switching", "tunes"}
        assert {m for models in found.sets.values() for m in models} == {
            m for dataset in found.sets for m in PAIR[dataset]
        }
        for dataset in found.sets:
            shown = experiment.badge(found, dataset)
            assert shown.startswith("profile smoke · ")
            assert "earlier code" not in shown
        for head, rows in (
            *(experiment.table(found, dataset) for dataset in found.sets),
            experiment.suites(found),
            experiment.suite_differences(found, "VRNN 6 matched"),
        ):
            assert all(len(row) == len(head) and all(row) for row in rows)
        assert verdict(found, "exact Bayes") == "holds"
        assert [c for c in all_claims() if c.chapter == experiment.CHAPTER] == experiment.claims(
            found
        )

    @pytest.mark.parametrize("dataset", ["switching", "tunes"])
    def test_models_travel_with_the_page(self, found, dataset):
        """Golden sequences are what the page's own arithmetic, repeated in NumPy, gives."""
        models = experiment.page_models(found, dataset)
        bare = HyperWeights(models)
        rounded = {name: bare.rounded(name) for name in models}
        golden = experiment.page_golden(found, dataset, rounded)
        weights = HyperWeights(models, golden=golden)
        for name, of in golden.items():
            again = weights.trace(name, of["x"], of["noise"])
            for key in of.keys() - {"x", "noise"}:
                np.testing.assert_allclose(getattr(again, key), of[key], rtol=1e-6, atol=1e-6)
        assert golden["VHRNN"]["scales"].shape[-1] == 12 * weights.describe("VHRNN")["h"]

    def test_a_piece_to_look_at(self, found):
        piece = experiment.page_piece(found, 12)
        assert len(piece) == 12
        notes = {note for frame in piece for note in frame}
        assert notes
        assert min(notes) >= 21
        assert max(notes) <= 108
        assert piece == experiment.page_piece(found, 12)
        assert piece != experiment.page_piece(found, 12, seed=1)

    def test_pictures(self, found, small):
        for panel in experiment.page_around(found):
            assert panel["lines"].keys() == set(PAIR["switching"])
            assert all(len(line) == 2 for of in panel["lines"].values() for line in of)
        short, longer = experiment.page_course(small)
        assert (short["title"], longer["title"]) == ("25 epochs", "75 epochs")
        assert longer["lines"]["VRNN 6 matched"][2] == ([1, 2], pytest.approx([-6.998, -6.498]))
        assert len(experiment.page_course(found)) == 1
        assert experiment.page_sizes(found) == experiment.real_tables(found) == []
        published, alive = experiment.page_sizes(small)
        assert published["lines"]["VHRNN"] == [([117] * 3, pytest.approx([-5.0] * 3))]
        assert alive["lines"]["VRNN"] == [([100] * 6, pytest.approx([-6.0] * 6))]

    def test_words(self, found, small):
        for of in (found, small, first_seed(small)):
            for text in experiment.told_page(of).values():
                assert isinstance(text, str)
                assert "nan" not in text
        told = experiment.told_page(small)
        assert "over the three sizes, is at the same latent size +1.000" in " ".join(told.values())
        assert "above 0 on noiseless, switch, rand, long" in told["suites_said"]
        assert "one seed" in experiment.told_page(first_seed(small))["suites_said"]
        median = experiment.median_gaps(small)[0]
        assert f"by the median over test sequences the difference is {median:+.2f}" in " ".join(
            told.values()
        )
        for *_, badge in experiment.real_tables(small):
            assert "1 seed" in badge

    def test_published_numbers_are_verified_and_others_are_not(self, found, monkeypatch):
        bounds, real = [], training.likelihoods

        def kept(*given):
            bounds.append(real(*given))
            return bounds[-1]

        monkeypatch.setattr(training, "likelihoods", kept)
        checks = experiment.verify(SMOKE)
        assert len(checks) == 5
        assert [c["what"] for c in checks if not c["ok"]] == []
        json.dumps(checks, allow_nan=False)
        exact = training.truth(SMOKE)
        for errors, rounding, ok in ((3.5, 5e-5, True), (4.5, 2e-4, False)):
            moved = iter([c["recomputed"] + errors * c["standard_error"] for c in checks[:4]])
            published = []
            for model in PAIR["switching"]:
                r = found.sets["switching"][model][0]
                final = {**r.values["final"], "fivo": [next(moved)], "fivo_many": next(moved)}
                published.append(r._replace(values={**r.values, "final": final}))
            test = {"test": [v + rounding for v in exact.values["test"]]}
            told, again = iter(published), iter(bounds)
            monkeypatch.setattr(training, "result", lambda *_, told=told: next(told))
            monkeypatch.setattr(training, "truth", lambda _, test=test: exact._replace(values=test))
            monkeypatch.setattr(training, "likelihoods", lambda *_, again=again: next(again))
            assert [c["ok"] for c in experiment.verify(SMOKE)] == 5 * [ok]

    def test_other_weights_are_not_those_of_the_published_number(self, found, monkeypatch):
        real = experiment.reread

        def spoilt(*given):
            net = real(*given)
            with torch.no_grad():
                net.decoder[-1].bias += 3
            return net

        monkeypatch.setattr(experiment, "reread", spoilt)
        assert [c["ok"] for c in experiment.verify(SMOKE)] == 4 * [False] + [True]
