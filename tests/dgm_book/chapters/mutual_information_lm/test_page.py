"""Chapter 2: its tables, claims and page, on tiny runs; and the smoke recipe on the chain."""

import math
import os

import numpy as np
import pytest

from dgm_book import profiles, widgets
from dgm_book.chapters.mutual_information_lm import page as experiment
from dgm_book.chapters.mutual_information_lm import training
from dgm_book.chapters.mutual_information_lm.training import ARMS
from dgm_book.widgets.language_weights import rounded

SMOKE = profiles.get("smoke")
REAL_SETTINGS = training.settings
RECIPE = REAL_SETTINGS(SMOKE, "chain")
TINY = RECIPE._replace(
    n_training=120, n_validation=30, n_test=60, width=8, rows=4, window=8, n_anchors=4,
    critic_hidden=5, steps=20, measure_every=10, n_samples=3, sample_tokens=600, reverse_steps=3,
)  # fmt: skip
RUNS = [
    *(("chain", arm, n) for n in range(2) for arm in ARMS),
    *(("short cycle", arm, 0) for arm in experiment.PAGE),
]
ALL_RUNS = experiment.runs
# Where `make test` has just trained the chapter at smoke size; without it the last test trains, for a minute.
SMOKE_RESULTS = os.environ.get("DGM_RESULTS")


@pytest.fixture(scope="module")
def patched(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DGM_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setattr(training, "settings", lambda profile, dataset: TINY)
        patch.setattr(experiment, "runs", lambda profile: RUNS)
        patch.setattr(experiment, "real_runs", lambda profile: [("chain", 0), ("chain", 1)])
        yield patch


@pytest.fixture(scope="module")
def found(patched):
    return experiment.chapter("smoke")


def changed(found, arm, shift, name="nll", group="final"):
    """The chapter with one measurement of an arm set beside that of likelihood alone, on every text."""
    sets = {}
    for text, arms in found.sets.items():
        sets[text] = dict(arms)
        made = []
        for i, (r, base) in enumerate(zip(arms[arm], arms["likelihood"], strict=True)):
            value = base.values[group][name]
            moved = (
                [v + shift + 1e-3 * i for v in value]
                if isinstance(value, list)
                else value + shift + 1e-3 * i
            )
            made.append(r._replace(values={**r.values, group: {**r.values[group], name: moved}}))
        sets[text][arm] = made
    return found._replace(sets=sets)


def verdict(found, words):
    (claim,) = [c for c in experiment.claims(found) if words in c.claim]
    return claim.verdict


def test_names_are_whole_and_every_run_is_among_them():
    for name in profiles.NAMES:
        profile = profiles.get(name)
        wanted = [training.name_of(*r) for r in ALL_RUNS(profile)]
        assert len(set(wanted)) == len(wanted)
        for text, arm, _ in ALL_RUNS(profile):
            assert arm in ARMS
            training.settings(profile, text)


def test_tables(found):
    head, rows = experiment.table(found, "chain")
    assert all(len(row) == len(head) for row in rows)
    assert [row[0] for row in rows] == [*ARMS, "real text"]
    mean = sum(r.values["final"]["perplexity"] for r in found.sets["chain"]["phase I"]) / 2
    assert rows[1][1].startswith(f"{mean:.1f}")
    head, rows = experiment.differences(found, "chain")
    assert all(len(row) == len(head) for row in rows)
    gain = experiment.effect(found.sets["chain"], "nll", "phase I")
    assert rows[0][1] == f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
    head, rows = experiment.everywhere(found)
    assert all(len(row) == len(head) for row in rows)
    assert rows[-1][2] == "not run"


def test_fresh_seeds_stand_apart_from_the_first(found, monkeypatch):
    monkeypatch.setattr(experiment, "N_CHAIN", 1)
    monkeypatch.setattr(experiment, "FRESH", ("chain",))
    head, rows = experiment.fresh(found)
    assert all(len(row) == len(head) for row in rows)
    arms = found.sets["chain"]
    gains = [
        experiment.value("nll")(a) - experiment.value("nll")(b)
        for a, b in zip(arms["phase I"], arms["likelihood"], strict=True)
    ]
    assert rows[0][2:] == [f"{gain:+.4f}" for gain in gains]
    both = found._replace(sets={**found.sets, "short chain": arms, "short slow chain": arms})
    said = experiment.told_page(both)["fresh_said"]
    assert f"{gains[0]:+.3f} (one seed) nats a token in the first seeds" in said
    assert f"{gains[1]:+.3f} (one seed) in the fresh ones" in said
    assert f"Against {experiment.retuned(arms)}," in said
    monkeypatch.setattr(experiment, "N_CHAIN", 2)
    assert experiment.fresh(found)[1] == []


def test_effects_pair_the_seeds_that_both_have(found):
    arms = dict(found.sets["chain"])
    arms["more dropout"] = arms["more dropout"][1:]
    gain = experiment.effect(arms, "nll", "phase I", "more dropout")
    second = [experiment.value("nll")(arms[arm][-1]) for arm in ("phase I", "more dropout")]
    assert gain.n == 1
    assert gain.mean == pytest.approx(second[0] - second[1])


def test_retuned_dropout_is_chosen_on_validation(found):
    arms = dict(found.sets["chain"])
    for arm, nll in (("more dropout", 1.0), ("less dropout", 2.0)):
        arms[arm] = [
            r._replace(values={**r.values, "rows": [{"step": 1, "nll": nll}]}) for r in arms[arm]
        ]
    assert experiment.retuned(arms) == "more dropout"
    arms["more dropout"], arms["less dropout"] = arms["less dropout"], arms["more dropout"]
    assert experiment.retuned(arms) == "less dropout"
    assert experiment.retuned({"likelihood": []}) is None


def test_claims_follow_the_numbers(found):
    one = found._replace(sets={"chain": found.sets["chain"]}, real={})
    assert verdict(one, "Next-sentence prediction") == "holds"
    for shift, wanted in ((-0.1, "holds"), (0.1, "does not hold")):
        assert verdict(changed(one, "phase I", shift), "likelihood of held-out") == wanted
        assert (
            verdict(changed(one, "phase I", -shift, "information", "samples"), "neighbouring")
            == wanted
        )
        assert (
            verdict(changed(one, "phase I", shift, "reverse_nll", "samples"), "quality") == wanted
        )
    short = experiment.exact("chain") - 1e-3
    for level, wanted in ((short, "holds"), (0.5, "does not hold")):
        arms = dict(one.sets["chain"])
        arms["phase I"] = [
            r._replace(
                values={**r.values, "final": {**r.values["final"], "bound": level + 1e-4 * i}}
            )
            for i, r in enumerate(arms["phase I"])
        ]
        assert verdict(one._replace(sets={"chain": arms}), "near the exact value") == wanted
        assert verdict(one._replace(sets={"chain": arms}), "whatever the text") == "holds"
    better = changed(one, "phase I", -0.1)
    for arm in ("shuffled pairs", *experiment.DROPOUTS):
        better = changed(better, arm, 0.0)
    assert verdict(better, "comes from the pairs") == "holds"
    equal = changed(better, "shuffled pairs", -0.1)
    assert verdict(equal, "comes from the pairs") == "does not hold"
    assert "gains beyond every control" in experiment.told_page(better)["verdict"]
    assert "no gain" in experiment.told_page(equal)["verdict"]


def test_two_seeds_say_nothing_of_the_padding(found):
    assert verdict(found, "Reading the padding") == "not tested"
    arms = {
        arm: [*of, of[0]._replace(provenance={"seed": 7})]
        for arm, of in found.sets["chain"].items()
    }
    assert verdict(found._replace(sets={"chain": arms}), "Reading the padding") != "not tested"


def test_one_seed_gives_no_verdict(found):
    arms = {arm: of[:1] for arm, of in found.sets["chain"].items()}
    one = found._replace(sets={"chain": arms})
    assert verdict(one, "near the exact value") == "not tested"
    assert "one seed" in experiment.told_page(one)["gain"]


def test_the_quadrature_is_the_specifications_table():
    table = {
        0.0: (0, 1.38629, 0), 0.3: (0.04716, 1.36247, 0.01191), 0.5: (0.14384, 1.31245, 0.03692),
        0.8: (0.51083, 1.11901, 0.13364), 0.9: (0.83037, 0.95719, 0.21455), 0.95: (1.16395, 0.80217, 0.29206),
        0.99: (1.95852, 0.50366, 0.44132),
    }  # fmt: skip
    for rho, loss, jsd, exact, bound in experiment.quadrature():
        tolerance = 1e-3 if rho == 0.99 else 1e-4
        assert (exact, loss, jsd) == pytest.approx(table[rho], abs=tolerance)
        assert bound == pytest.approx(exact, abs=1e-9)


def test_the_page_shows_what_was_measured(found):
    models, words = experiment.page_models(found), experiment.page_words(found)
    golden = experiment.page_golden(found, rounded(models))
    weights = widgets.LanguageWeights(models, words, golden=golden)
    for values in golden["log_probs"].values():
        assert np.exp(values).sum(1) == pytest.approx(np.ones(len(values)), abs=1e-5)
    curves = experiment.page_curves(found)
    assert curves["exact"][0] == pytest.approx(1.55977, abs=1e-5)
    means = [r.values["samples"]["information"][0] for r in found.sets["chain"]["phase I"]]
    assert curves["models"]["phase I"]["mean"][0] == pytest.approx(sum(means) / 2)
    openings = experiment.page_openings()
    widgets.Storyteller(weights, experiment.page_themes(), openings, curves)
    known = set(words)
    assert all(len(set(text.split()) & known) for text in openings)
    widgets.NextSentenceQuiz(experiment.page_questions(found))
    widgets.RamlLottery(experiment.page_lottery(found))
    for panel in experiment.page_decay(found):
        assert {"likelihood", "the text itself"} <= panel["lines"].keys()
    (loss, *_) = experiment.page_ladder(found, "chain")
    assert len(loss["rows"]["likelihood"]) == 2
    told = experiment.told_page(found)
    assert all(isinstance(x, str) for x in told.values())
    assert "no text has so many seeds" in told["fresh_said"]


def with_seeds(arms, n):
    """The arms with as many seeds, by the first one's results."""
    return {
        arm: [of[0]._replace(provenance={**of[0].provenance, "seed": k}) for k in range(n)]
        for arm, of in arms.items()
    }


def test_every_picture_has_its_own_badge(found, badges_of):
    assert badges_of("02_mutual_information_lm") == set(experiment.evidence(found))


def test_a_badge_says_the_seeds_and_data_of_what_is_shown(found):
    arms = found.sets["chain"]
    few = {**with_seeds(arms, 3), "more dropout": arms["more dropout"][:1]}
    real = {
        arm: [r._replace(provenance={**r.provenance, "data": {"ptb": "a checksum"}}) for r in of]
        for arm, of in with_seeds(arms, 4).items()
    }
    more = found._replace(
        sets={"chain": few, "short chain": with_seeds(arms, 5), "wordy chain": real}
    )

    def said(shown):
        return experiment.badge(more, shown).split(" · ")[1:-1]

    assert said("chain") == ["chains of topics", "3 seeds (more dropout: 1 seed)"]
    assert said("stories") == ["chains of topics", "3 seeds (stories: 1 seed)"]
    assert said("quiz") == said("lottery") == ["chains of topics", "1 seed"]
    assert said("fresh") == ["chains of topics", "5 seeds"]
    seeds = "3 seeds (short chain: 5 seeds; wordy chain: 4 seeds)"
    assert said("everywhere") == ["ptb", "chains of topics", seeds]
    (row,) = [c for c in experiment.claims(more) if "likelihood of held-out" in c.claim]
    assert row.scale == f"profile smoke, {seeds}"


def test_what_two_seeds_say_of_the_padding_is_named_as_too_little(found):
    (row,) = [c for c in experiment.claims(found) if "padding" in c.claim]
    assert row.verdict == "not tested"
    assert "two are too few" in row.measured
    assert row.scale == "profile smoke, 2 seeds"


def test_a_few_questions_do_not_tell_critics_apart():
    assert experiment._alike(7, 4)
    assert experiment._alike(0, 0)
    assert not experiment._alike(12, 1)


def test_where_phase_two_had_not_begun_and_where_nothing_was_learned_is_computed(found):
    def best_at(r, step):
        rows = [{**row, "nll": 1.0 + (row["step"] != step)} for row in r.values["rows"]]
        return r._replace(values={**r.values, "rows": rows})

    def told(*steps):
        arms = found.sets["chain"]
        moved = {
            arm: [best_at(r, step) for r, step in zip(of, steps, strict=True)]
            for arm, of in arms.items()
        }
        return experiment._early_text(found._replace(sets={"chain": moved}))

    assert "before phase II" in told(10, 10)
    assert f"the first in {2 * len(ARMS)} of {2 * len(ARMS)} runs" in told(10, 10)
    assert told(10, 20) == ""


def test_published_weights_are_verified(found):
    checks = experiment.verify(SMOKE)
    assert len(checks) == 8
    assert all(math.isfinite(c["recomputed"]) for c in checks)
    losses = [c for c in checks if "nll" in c["what"]]
    assert all(c["ok"] for c in losses)


def test_phase_one_raises_the_held_out_bound_at_smoke_size(monkeypatch, tmp_path):
    """Paired over three seeds; a critic on a model that it cannot touch is the control."""
    monkeypatch.setattr(training, "settings", REAL_SETTINGS)
    monkeypatch.setattr(experiment, "runs", ALL_RUNS)
    monkeypatch.setattr(experiment, "real_runs", lambda profile: [])
    monkeypatch.setenv("DGM_RESULTS", SMOKE_RESULTS or str(tmp_path))
    arms = experiment.chapter("smoke").sets["chain"]
    bounds = [experiment.value("bound")(r) for r in arms["phase I"]]
    assert len(bounds) == 3
    assert min(bounds) >= 0.8 * experiment.exact("chain")
    assert max(bounds) < experiment.exact("chain") + 0.05
    assert experiment.effect(arms, "bound", "phase I").low > 0
