"""Chapter 2: its tables, claims and page, on tiny runs; and the smoke recipe on the chain."""

import math
import os

import numpy as np
import pytest

from dgm.data.synthetic import THEMES
from dgm_book import profiles, widgets
from dgm_book.chapters.mutual_information_lm import page
from dgm_book.chapters.mutual_information_lm import run as runs
from dgm_book.chapters.mutual_information_lm.recipe import (
    DROPOUTS,
    PAGE,
    VARIANTS,
    Recipe,
    Settings,
)

TINY = Settings(
    n_training=120, n_validation=30, n_test=60, width=8, rows=4, window=8, n_anchors=4,
    critic_hidden=5, steps=20, measure_every=10, n_samples=3, sample_tokens=600, reverse_steps=3,
)  # fmt: skip
RECIPE = Recipe(
    "chain",
    {"chain": TINY, "short cycle": TINY},
    [
        *(("chain", variant, n) for n in range(2) for variant in VARIANTS),
        *(("short cycle", variant, 0) for variant in PAGE),
    ],
    [("chain", 0), ("chain", 1)],
)
# Where `make test` has just trained the chapter at smoke size; without it the last test trains.
SMOKE_RESULTS = os.environ.get("DGM_RESULTS")


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DGM_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield page.chapter("smoke", recipes={"smoke": RECIPE})


@pytest.fixture
def chain(chapter):
    """The chapter with its chain alone."""
    return chapter._replace(texts={"chain": chapter.texts["chain"]}, real={})


def edit(result, group, name, value):
    return result._replace(values={**result.values, group: {**result.values[group], name: value}})


def shifted(chapter, variant, shift, name="nll", group="final"):
    """The chapter with a measurement of a variant set beside that of likelihood alone."""
    texts = {}
    for text, variants in chapter.texts.items():
        results = []
        for i, base in enumerate(variants["likelihood"]):
            value = np.array(base.values[group][name]) + shift + 1e-3 * i
            results.append(edit(variants[variant][i], group, name, value.tolist()))
        texts[text] = {**variants, variant: results}
    return chapter._replace(texts=texts)


def claim(chapter, id_):
    return {claim.id: claim for claim in page.claims(chapter)}[id_]


def with_best(chapter, best):
    """The chapter's chain alone, where each variant has its best validation loss at a step."""
    variants = {}
    for variant, results in chapter.texts["chain"].items():
        steps = best.get(variant, best.get("")) or (0, 0)
        variants[variant] = [
            r._replace(
                values={
                    **r.values,
                    "rows": [{**x, "nll": 1.0 + (x["step"] != step)} for x in r.values["rows"]],
                }
            )
            for r, step in zip(results, steps, strict=True)
        ]
    return chapter._replace(texts={"chain": variants})


def test_tables_and_what_fresh_seeds_give_beside_the_first(chapter):
    head, rows = page.table(chapter, "chain")
    assert all(len(row) == len(head) for row in rows)
    assert [row[0] for row in rows] == [*VARIANTS, "real text"]
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


@pytest.mark.parametrize("best", DROPOUTS)
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
def test_claims_follow_the_numbers(chain, id_, group, name, good):
    assert claim(chain, "bound_is_exact").verdict == "holds"
    for shift, verdict in ((good, "holds"), (-good, "does not hold")):
        assert claim(shifted(chain, "phase I", shift, name, group), id_).verdict == verdict


def test_states_tell_more_where_the_bound_comes_near_the_exact_value(chain):
    (first, *_), near = chain.texts["chain"]["likelihood"], chain.exact() - 1e-3
    gain = near - first.values["final"]["bound"]
    for shift, verdict in ((gain, "holds"), (gain - 1, "does not hold")):
        result = shifted(chain, "phase I", shift, "bound")
        assert claim(result, "states_tell_more").verdict == verdict
        assert claim(result, "bound_rises").verdict == "holds"


def test_a_gain_must_beat_every_control(chain):
    better = shifted(chain, "phase I", -0.1)
    for variant in ("shuffled pairs", *DROPOUTS):
        better = shifted(better, variant, 0.0)
    equal = shifted(better, "shuffled pairs", -0.1)
    for result, verdict, words in (
        (better, "holds", "gains beyond every control"),
        (equal, "does not hold", "no gain"),
    ):
        assert claim(result, "pairs_matter").verdict == verdict
        assert words in page.prose_values(result)["verdict"]


def test_two_seeds_say_nothing_of_the_padding(chain):
    assert claim(chain, "padding_matters").verdict == "not tested"
    assert claim(chain, "padding_matters").scale == "profile smoke, 2 seeds"
    variants = {
        variant: [*results, results[0]._replace(provenance={"seed": 7})]
        for variant, results in chain.texts["chain"].items()
    }
    three = chain._replace(texts={"chain": variants})
    assert claim(three, "padding_matters").verdict != "not tested"


def test_one_seed_and_what_was_not_run_give_no_verdict(chain):
    variants = {variant: chain.texts["chain"][variant][:1] for variant in PAGE}
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


def test_the_page_shows_what_was_measured(chapter):
    given = page.page_weights(chapter)
    weights = widgets.LanguageWeights(**given)
    for log_probs in given["golden"]["log_probs"].values():
        assert np.exp(log_probs).sum(1) == pytest.approx(np.ones(len(log_probs)), abs=1e-5)
    curves = page.page_curves(chapter)
    assert curves["exact"][0] == pytest.approx(1.55977, abs=1e-5)
    means = chapter.values("chain", "written")
    assert curves["models"]["phase I"]["mean"][0] == pytest.approx(sum(means) / 2)
    openings = page.page_openings()
    widgets.Storyteller(weights, THEMES, openings, curves)
    assert all(set(text.split()) & set(given["words"]) for text in openings)
    widgets.NextSentenceQuiz(page.page_questions(chapter))
    widgets.RamlLottery(page.page_lottery(chapter))
    for panel in page.page_decay(chapter):
        assert {"likelihood", "the text itself"} <= panel["lines"].keys()
    (loss, *_) = page.page_ladder(chapter, "chain")
    assert len(loss["rows"]["likelihood"]) == 2
    assert all(isinstance(text, str) for text in page.prose_values(chapter).values())


def test_every_picture_has_its_own_badge(chapter, badges_of):
    assert badges_of("02_mutual_information_lm") == set(page.evidence(chapter))


def test_the_prose_says_how_much_was_learned(chain):
    early = page.prose_values(with_best(chain, {"": (10, 10)}))["early"]
    assert "before phase II" in early
    assert f"the first in {2 * len(VARIANTS)} of {2 * len(VARIANTS)} runs" in early
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


def test_phase_one_raises_the_held_out_bound_at_smoke_size(monkeypatch, tmp_path):
    """Paired over three seeds; a critic on a model that it cannot touch is the control."""
    monkeypatch.setenv("DGM_RESULTS", SMOKE_RESULTS or str(tmp_path))
    chapter = page.chapter("smoke")
    bounds = chapter.values("chain", "bound")
    assert len(bounds) == 3
    assert min(bounds) >= 0.8 * chapter.exact()
    assert max(bounds) < chapter.exact() + 0.05
    assert chapter.change("chain", "bound").low > 0
