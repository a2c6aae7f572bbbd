"""Chapter 5: its tables, claims, prose and page, on tiny runs."""

import copy
import itertools
import math

import pytest
import torch

from dgm.papers.pooling_vae import LinearGaussianVAE
from dgm_book import jobs, profiles, widgets
from dgm_book.chapters.pooling_vae import page, run
from dgm_book.chapters.pooling_vae.recipe import MAIN, RECIPES, TIMED

SMOKE = profiles.get("smoke")
TINY = RECIPES["smoke"].settings["endings"]._replace(
    n_training=160, n_validation=40, n_test=40, embedding=6, hidden=8, latent_dim=3, steps=4,
    measure_every=2, ahead=2, n_likelihood=5, n_samples=10,
)  # fmt: skip
RUNS = [
    *(("endings", variant, seed) for variant in MAIN for seed in range(3)),
    *(("endings", f"{pooling} adam", 0) for pooling in ("last", "mean", "max")),
]
RECIPE = RECIPES["smoke"]._replace(
    settings={"endings": TINY}, runs=RUNS, n_watched=4, k_watched=3, n_timed=10
)
TINY_RECIPES = {**RECIPES, "smoke": RECIPE}


@pytest.fixture(scope="module")
def chapter(work):
    return page.chapter("smoke", recipes=TINY_RECIPES)


def changed(chapter, without="", **metrics):
    """The chapter with other final values: for each metric and variant a list, one per seed."""
    runs = copy.deepcopy({k: r for k, r in chapter.main.items() if k != without})
    for r in itertools.chain(*runs.values()):  # above that of word frequencies
        r.values["final"]["log_likelihood"] = -30.0
    for name, by_variant in metrics.items():
        for variant, values in by_variant.items():
            for r, value in zip(runs[variant], values, strict=False):
                r.values["final"][name] = value
    return chapter._replace(sets={"endings": runs})


def verdict(chapter, claim_id):
    return {claim.id: claim.verdict for claim in page.claims(chapter)}[claim_id]


def test_every_result_is_in_the_chapter(chapter):
    names = {r.name for results in chapter.main.values() for r in results}
    loaded = jobs.load(run.run, "smoke", 0, recipes=TINY_RECIPES)[1]
    assert names | {chapter.timing.name, chapter.vocabulary.name} == set(loaded)
    assert len(chapter.main["plain"]) == 3
    assert jobs.published(jobs.over_seeds(run.run, 0, recipes=TINY_RECIPES)).name == "smoke"


def test_a_control_explains_its_share(chapter):
    values = {"plain": [1.0, 2.0, 1.0], "max": [3.0, 6.0, 3.0], "scaled last": [1.5, 4.0, 2.0]}
    rows = dict(page.shares(changed(chapter, information=values), "endings"))
    # (0.5 of 2, 2 of 4 and 1 of 2) in per cent: 25, 50 and 50.
    assert rows["last, scaled by 4"].startswith("+42 [")


def test_crossing_compares_the_same_training(chapter):
    head, rows = page.crossing(chapter, "endings")
    assert [row[0] for row in rows] == ["the recipe", "Adam"]
    assert {len(row) for row in rows} == {len(head)}
    assert page.crossing(changed(chapter, "mean adam"), "endings")[1][1][2] == "not run"


def test_numbers_in_the_prose_come_from_the_runs(chapter):
    other = changed(
        chapter,
        kl={"free bits": [1.5] * 3, "plain": [0.01], "mean": [0.02], "max": [1.5]},
        by_position={"plain": [[3.0, 2.0]] * 3, "max": [[2.0, 1.9]] * 3},
        reconstruction={"plain": [5.0] * 3, "max": [3.9] * 3},
    )
    values = page.prose_values(other)
    assert "a KL of 1.50 ± 0.00 nats" in values["free_bits"]
    assert (values["first_word"], values["all_words"]) == ("1.00 nats", "1.10 nats")
    quiet, _, in_use = values["collapsed"].partition("in use")
    assert "last (0.010 nats) and mean (0.020 nats)" in quiet
    assert in_use.startswith(" with max (1.500 nats).")
    assert "not run" in page.prose_values(changed(chapter, "free bits"))["free_bits"]


NAMES = ("plain", "annealing", "free bits", "aggressive", "max", "mean")
LOW = {name: [-30.0] * 3 for name in NAMES}
HIGH = [-29.0, -28.9, -29.0]
BETTER, WORSE = LOW | {"max": HIGH, "mean": HIGH}, LOW | {"max": [-31.0, -31.1, -31.0]}
GAIN = {"plain": [0.0] * 3, "max": [2.0, 2.2, 2.1]}
CONTENT, SCALE = GAIN | {"scaled last": [0.2, 0.1, 0.1]}, GAIN | {"scaled last": [1.5, 1.6, 1.5]}
SMALL = {"plain": [0.01, 0.02, 0.01]}


@pytest.mark.parametrize(
    ("claim_id", "metric", "holds", "does_not"),
    [
        ("last_state_collapses", "kl", SMALL, {"plain": [0.4, 0.41, 0.4]}),
        ("likelihood_above_plain", "log_likelihood", BETTER, WORSE),
        ("likelihood_comparable", "log_likelihood", BETTER, WORSE),
        ("likelihood_with_words_hidden", "hidden_log_likelihood", BETTER, WORSE),
        ("gain_is_content", "information", CONTENT, SCALE),
    ],
)
def test_verdicts_follow_the_numbers(chapter, claim_id, metric, holds, does_not):
    for values, expected in ((holds, "holds"), (does_not, "does not hold")):
        assert verdict(changed(chapter, **{metric: values}), claim_id) == expected


@pytest.mark.parametrize("variant", ["max", "mean"])
def test_pooling_must_gain_beyond_its_interval(chapter, variant):
    for gain, expected in (
        ([2.0, 2.1, 2.0], "holds"),
        ([0.1, 0.2, 0.1], "does not hold"),
        ([2.0, -1.0, 2.0], "undecided"),
    ):
        other = changed(chapter, information={"plain": [0.0] * 3, variant: gain})
        assert verdict(other, f"{variant}_prevents_collapse_with_hidden_words") == expected
        assert verdict(other, f"{variant}_prevents_collapse") == "not tested"  # not run


@pytest.mark.parametrize(("seconds", "expected"), [(0.01, "holds"), (0.0107, "does not hold")])
def test_cost(chapter, seconds, expected):
    steps = {**{variant: [0.01] * 10 for variant in TIMED}, "max": [seconds] * 10}
    timed = changed(chapter, "aggressive")._replace(timing=chapter.timing._replace(values=steps))
    assert verdict(timed, "costs_nothing") == expected
    assert verdict(timed, "whatever_the_training") == "not tested"  # one seed


def test_verify_notices_other_weights(chapter, monkeypatch):
    assert all(check["ok"] for check in run.verify(SMOKE, TINY_RECIPES))
    load = run.load_encoder

    def other(*arguments):
        model, splits = load(*arguments)
        model.posterior.head.weight += 3.0
        return model, splits

    monkeypatch.setattr(run, "load_encoder", other)
    checks = run.verify(SMOKE, TINY_RECIPES)
    assert not any(c["ok"] for c in checks if c["what"].endswith("KL"))


def test_widgets_take_the_models_and_every_badge_names_the_data(chapter):
    words, golden = chapter.vocabulary.values["words"], page.page_golden(chapter)
    weights = widgets.PoolingWeights(page.page_encoders(chapter), words, golden=golden)
    widgets.InfluenceRuler(weights, page.page_examples(chapter))
    widgets.PoolingRace(page.page_training(chapter))
    widgets.DispersionMicroscope(page.page_microscope(chapter))
    assert all("generated sentences" in page.badge(chapter, k) for k in page.evidence(chapter))


def test_influence_before_training_halves_with_each_word_back():
    last = page.influence_at_start()["last"]
    assert all(0.3 < b / a < 0.7 for a, b in itertools.pairwise(last[2:7]))


def test_the_bound_rises_to_the_likelihood():
    model = LinearGaussianVAE(torch.tensor([[1, 0.5], [-0.3, 0.8], [0.2, -1]]), torch.zeros(3), 0.4)
    x = torch.tensor([[0.7, -0.2, 0.5]])
    published = {1: (-6.1324, 0.01), 5: (-3.566, 0.007), 50: (-3.253, 0.002), 500: (-3.234, 0.001)}
    for k, (expected, error) in published.items():
        assert abs(page.bound_from_the_prior(model, x, k) - expected) < 4 * math.hypot(error, error)
