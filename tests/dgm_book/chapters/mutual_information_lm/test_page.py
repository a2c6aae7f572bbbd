"""Chapter 2: its tables, claims and page, on tiny runs; and the smoke recipe on the chain."""

import copy
import math

import numpy as np
import pytest

from dgm.data.synthetic import THEMES
from dgm_book import profiles, widgets
from dgm_book.chapters.mutual_information_lm import page
from dgm_book.chapters.mutual_information_lm import recipe as plan
from dgm_book.chapters.mutual_information_lm import run as runs

TINY = plan.Settings(
    n_training=120, n_validation=30, n_test=60, width=8, rows=4, window=8, n_anchors=4,
    critic_hidden=5, steps=20, measure_every=10, n_samples=3, sample_tokens=600, reverse_steps=3,
)  # fmt: skip
RECIPE = plan.Recipe(
    "chain",
    {"chain": TINY, "short cycle": TINY},
    [
        *(("chain", variant, n) for n in range(2) for variant in plan.VARIANTS),
        *(("short cycle", variant, 0) for variant in plan.PAGE),
    ],
    [("chain", 0), ("chain", 1)],
)


@pytest.fixture(scope="module")
def chapter(work):
    return page.chapter("smoke", recipes={"smoke": RECIPE})


@pytest.fixture
def chain(chapter):
    """The chapter with its chain alone."""
    return chapter._replace(texts={"chain": chapter.texts["chain"]}, real={})


@pytest.fixture
def three(chain):
    """The chain with a third seed, and losses below that of word frequencies."""
    variants = copy.deepcopy(chain.texts["chain"])
    for results in variants.values():
        results.append(copy.deepcopy(results[0])._replace(provenance={"seed": 7}))
        for result in results:
            result.values["final"]["nll"] = 3.0
    return chain._replace(texts={"chain": variants})


def shifted(chapter, variant, shift, name="nll", group="final"):
    """The chapter with a measurement of a variant set beside that of likelihood alone."""
    texts = copy.deepcopy(chapter.texts)
    for variants in texts.values():
        pairs = zip(variants["likelihood"], variants[variant], strict=True)
        for i, (base, result) in enumerate(pairs):
            value = np.array(base.values[group][name]) + shift + 1e-3 * i
            result.values[group][name] = value.tolist()
    return chapter._replace(texts=texts)


def claim(chapter, id_):
    return {claim.id: claim for claim in page.claims(chapter)}[id_]


def with_best(chapter, best):
    """The chapter's chain alone, where each variant has its best validation loss at a step."""
    variants = copy.deepcopy(chapter.texts["chain"])
    for variant, results in variants.items():
        steps = best.get(variant, best.get("")) or (0, 0)
        for result, step in zip(results, steps, strict=True):
            for row in result.values["rows"]:
                row["nll"] = 1.0 + (row["step"] != step)
    return chapter._replace(texts={"chain": variants})


def test_tables_and_what_fresh_seeds_give_beside_the_first(chapter):
    head, rows = page.table(chapter, "chain")
    assert all(len(row) == len(head) for row in rows)
    assert [row[0] for row in rows] == [*plan.VARIANTS, "real text"]
    gain = chapter.change("chain", "nll")
    _, rows = page.differences(chapter, "chain")
    assert rows[0][1] == f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
    assert page.everywhere(chapter)[1][-1][2] == "not run"
    assert page.fresh(chapter)[1] == []
    recipe = chapter.recipe._replace(fresh={"chain": "nll"}, n_first=1)
    losses = [chapter.values("chain", "nll", v) for v in ("phase I", "likelihood")]
    head, rows = page.fresh(chapter._replace(recipe=recipe))
    assert all(len(row) == len(head) for row in rows)
    assert rows[0][2:] == [f"{a - b:+.4f}" for a, b in zip(*losses, strict=True)]


@pytest.mark.parametrize("best", plan.DROPOUTS)
def test_retuned_dropout_is_chosen_on_validation(chain, best):
    assert with_best(chain, {best: (10, 10)}).retuned("chain") == best
    assert chain._replace(texts={"chain": {"likelihood": []}}).retuned("chain") is None


@pytest.mark.parametrize(
    ("id_", "group", "name", "good"),
    [
        ("likelihood_improves", "final", "nll", -0.1),
        ("quality_improves", "samples", "reverse_nll", -0.1),
        ("written_information_rises", "samples", "information", 0.1),
        ("bound_rises", "final", "bound", 0.1),
    ],
)
def test_claims_follow_the_numbers(three, id_, group, name, good):
    assert claim(three, "bound_is_exact").verdict == "holds"
    for shift, verdict in ((good, "holds"), (-good, "does not hold")):
        assert claim(shifted(three, "phase I", shift, name, group), id_).verdict == verdict


def test_states_tell_more_where_the_bound_comes_near_the_exact_value(three):
    (first, *_), near = three.texts["chain"]["likelihood"], three.exact() - 1e-3
    gain = near - first.values["final"]["bound"]
    for shift, verdict in ((gain, "holds"), (gain - 1, "does not hold")):
        result = shifted(three, "phase I", shift, "bound")
        assert claim(result, "states_tell_more").verdict == verdict
        assert claim(result, "bound_rises").verdict == "holds"


def test_a_gain_must_beat_every_control(three):
    better = shifted(three, "phase I", -0.1)
    for variant in ("shuffled pairs", *plan.DROPOUTS):
        better = shifted(better, variant, 0.0)
    equal = shifted(better, "shuffled pairs", -0.1)
    for result, verdict, words in (
        (better, "holds", "gains beyond every control"),
        (equal, "does not hold", "no gain"),
    ):
        assert claim(result, "pairs_matter").verdict == verdict
        assert words in page.prose_values(result)["verdict"]


def test_two_seeds_say_nothing_of_the_padding(chain, three):
    assert claim(chain, "padding_matters").verdict == "not tested"
    assert claim(chain, "padding_matters").scale == "profile smoke, 2 seeds"
    assert claim(three, "padding_matters").verdict != "not tested"


def test_one_seed_and_what_was_not_run_give_no_verdict(chain):
    variants = {variant: chain.texts["chain"][variant][:1] for variant in plan.PAGE}
    single = chain._replace(texts={"chain": variants})
    verdicts = {claim.id: claim.verdict for claim in page.claims(single)}
    assert verdicts.pop("bound_is_exact") == "holds"
    assert set(verdicts.values()) == {"not tested"}
    assert "one seed" in page.prose_values(single)["gain"]


def test_the_quadrature_is_exact_under_the_best_critic():
    for rho, loss, jsd, exact, bound in page.quadrature():
        assert exact == pytest.approx(-0.5 * math.log1p(-(rho**2)))
        assert bound == pytest.approx(exact, abs=1e-9)
        assert loss == pytest.approx(2 * math.log(2) - 2 * jsd)
        assert 0 <= jsd < math.log(2) or jsd == pytest.approx(0, abs=1e-12)


def test_the_page_shows_what_was_measured_with_its_own_badges(chapter, badges_of):
    given = page.page_weights(chapter)
    for log_probs in given["golden"]["log_probs"].values():
        assert np.exp(log_probs).sum(1) == pytest.approx(np.ones(len(log_probs)), abs=1e-5)
    curves, openings = page.page_curves(chapter), page.page_openings()
    assert curves["exact"][0] == pytest.approx(1.55977, abs=1e-5)
    means = chapter.values("chain", "written")
    assert curves["models"]["phase I"]["mean"][0] == pytest.approx(sum(means) / 2)
    widgets.Storyteller(widgets.LanguageWeights(**given), THEMES, openings, curves)
    assert all(set(text.split()) & set(given["words"]) for text in openings)
    widgets.NextSentenceQuiz(page.page_questions(chapter))
    widgets.RamlLottery(page.page_lottery(chapter))
    assert badges_of("02_mutual_information_lm") == set(page.evidence(chapter))


def test_the_prose_says_how_much_was_learned(chain):
    early = page.prose_values(with_best(chain, {"": (10, 10)}))["early"]
    assert "before phase II" in early
    assert f"the first in {2 * len(plan.VARIANTS)} of {2 * len(plan.VARIANTS)} runs" in early
    assert page.prose_values(with_best(chain, {"": (10, 20)}))["early"] == ""
    # So small a quiz does not tell critics apart.
    assert page.is_alike(7, 4)
    assert page.is_alike(0, 0)
    assert not page.is_alike(12, 1)


def test_published_weights_are_verified(chapter):
    checks = runs.verify(profiles.get("smoke"), recipes={"smoke": RECIPE})
    assert len(checks) == 8
    assert all(math.isfinite(c["recomputed"]) for c in checks)
    assert all(c["ok"] for c in checks if "nll" in c["what"])


def test_phase_one_raises_the_held_out_bound_at_smoke_size(monkeypatch, tmp_path, smoke_results):
    """Paired over three seeds; a critic on a model that it cannot touch is the control."""
    monkeypatch.setenv("DGM_RESULTS", smoke_results or str(tmp_path))
    chapter = page.chapter("smoke")
    bounds = chapter.values("chain", "bound")
    assert len(bounds) == 3
    assert min(bounds) >= 0.8 * chapter.exact()
    assert max(bounds) < chapter.exact() + 0.05
    assert chapter.change("chain", "bound").low > 0
