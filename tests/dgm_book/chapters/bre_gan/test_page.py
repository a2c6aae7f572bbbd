"""Chapter 3 whole at a tiny size: its results, its badges, its verdicts."""

import pytest

from dgm_book import jobs, profiles
from dgm_book.chapters import CHAPTERS
from dgm_book.chapters.bre_gan import page, recipe
from dgm_book.chapters.bre_gan import run as runs
from dgm_book.chapters.bre_gan.recipe import RECIPES, ToyRecipe, Training

SMOKE = profiles.get("smoke")
TINY = RECIPES["smoke"]._replace(
    images={
        "digits": recipe.DIGITS._replace(
            noise_dim=8,
            generator=recipe.DIGITS.generator | {"channels": (8,)},
            discriminator=recipe.DIGITS.discriminator | {"channels": (4, 8, 8)},
            regimes=recipe.regimes(recipe.SMOKE._replace(steps=8), 4, 4e-3),
            n_samples=60,
            classifier_steps=20,
        )
    },
    labelled=recipe.SMOKE._replace(steps=8),
    toys=ToyRecipe({"eight": (3, Training(20, 64, 2e-3, 2, weight_falls=True))}, 1, 20),
    widths=(2,),
)
RECIPE = {**RECIPES, "smoke": TINY}


@pytest.fixture(scope="module")
def tiny(work):
    return page.chapter("smoke", recipes=RECIPE)


@pytest.fixture(scope="module")
def verdicts(tiny):
    return lambda chapter=tiny: {claim.id: claim for claim in page.claims(chapter)}


def changed(result, seed=None, **values):
    """A result with other measurements, and perhaps of another seed."""
    rows = [{**row, **values} for row in result.values["measured"]]
    origin = result.provenance if seed is None else {**result.provenance, "seed": seed}
    return result._replace(values={**result.values, "measured": rows}, provenance=origin)


def test_it_is_whole_and_loads_again(tiny, work):
    everything = jobs.over_seeds(runs.run, 0, recipes=RECIPE)
    assert jobs.published(everything).name == "smoke"
    work.setattr(runs, "fit", None)
    loaded = page.chapter("auto", recipes=RECIPE)
    assert loaded.toys["eight"]["bre"][1].values == tiny.toys["eight"]["bre"][1].values
    assert loaded.semi.keys() == loaded.toys["eight"].keys() - {"bre-tight"}
    assert all("earlier code" not in page.badge(loaded, key) for key in page.evidence(loaded))
    assert CHAPTERS["bre_gan"] == runs.CHAPTER


def test_every_picture_has_a_badge_of_its_own_pairs_and_data(tiny, badges_of):
    badges = {key: page.badge(tiny, key).split(" · ")[1:3] for key in page.evidence(tiny)}
    assert badges_of("03_bre_gan") == set(badges)
    assert badges.pop("plane") == ["points in the plane", "1 pair"]
    assert badges.pop("pairs") == badges.pop("targets") == ["points in the plane", "3 pairs"]
    assert all(badge == ["digits", "1 pair"] for badge in badges.values())


def test_each_claim_names_its_own_pairs_and_one_pair_gives_no_verdict(verdicts):
    claims = verdicts()
    in_the_plane = {"pieces", "steadier_in_the_plane", "idle_pair_term"}
    for key, claim in claims.items():
        if key in in_the_plane:
            assert claim.scale == "profile smoke, 3 pairs"
        else:
            assert claim.verdict == "not tested"
            assert claim.scale == f"profile smoke, {'no pairs' if key == 'cifar' else '1 pair'}"


def test_a_run_shorter_than_the_transient_phase_refutes_nothing(tiny, verdicts):
    assert "neither shown nor refuted" in verdicts()["normal_rate"].measured
    # No run stopped early, with BRE or without.
    assert "was not tested" in verdicts()["aggressive_rate"].measured
    regimes = recipe.regimes(recipe.SMOKE._replace(steps=page.TRANSIENT), 4, 4e-3)
    images = {"digits": TINY.images["digits"]._replace(regimes=regimes)}
    long = tiny._replace(recipe=TINY._replace(images=images))
    assert "refuted" not in verdicts(long)["normal_rate"].measured


@pytest.mark.parametrize(("n", "verdict"), [(50, "holds"), (5, "does not hold")])
def test_verdicts_follow_the_results(tiny, verdicts, n, verdict):
    eight = {}
    for method, start in (("none", 10), ("bre", n)):
        pieces = [{f"pieces_h{n}": start + i for n in (2, 3, 4)} for i in range(3)]
        pairs = zip(tiny.toys["eight"][method], pieces, strict=True)
        eight[method] = [changed(result, modes=5, **values) for result, values in pairs]
    assert verdicts(tiny._replace(toys={"eight": eight}))["pieces"].verdict == verdict


@pytest.mark.parametrize(
    ("narrow", "wide", "verdict"),
    [
        ([0.1, 0.2, 0.1], [0.9, 1.1, 1.0], "holds"),
        ([0.9, 1.1, 1.0], [0.1, 0.2, 0.1], "does not hold"),
        ([0.1, 0.2, 0.1], [0.1, 3.0, -1.0], "undecided"),  # not beyond its interval
        ([0.1], [0.9], "not tested"),
    ],
)
def test_the_gain_by_width_gets_a_verdict(tiny, verdicts, narrow, wide, verdict):
    dcgans, n = dict(tiny.dcgans), len(narrow)
    for width, gains in ((1, narrow), (2, wide)):
        key = ("digits", "normal", "batch", width)
        plain, penalised = (dcgans[key][method][0] for method in ("none", "bre"))
        dcgans[key] = {
            "none": [changed(plain, i, class_score=5.0 + i) for i in range(n)],
            "bre": [changed(penalised, i, class_score=5 + i + x) for i, x in enumerate(gains)],
        }
    claim = verdicts(tiny._replace(dcgans=dcgans))["gain_by_width"]
    assert claim.verdict == verdict
    assert f"width 2 minus width 1 {(sum(wide) - sum(narrow)) / n:+.2f}" in claim.measured
    dcgans = {key: pairs for key, pairs in dcgans.items() if key[3] == 1}
    assert verdicts(tiny._replace(dcgans=dcgans))["gain_by_width"].verdict == "not tested"


def test_a_run_that_stopped_keeps_its_last_value(tiny):
    rows = [{"step": 0, "modes": 1}, {"step": 10, "modes": 4}, {"step": 20, "modes": 8}]
    planned = {"every": 10, "n": 2}
    whole = tiny.toys["eight"]["none"][0]._replace(values={"measured": rows, "planned": planned})
    short = whole._replace(values={"measured": rows[:2], "planned": planned})
    assert page.value(whole, "late modes") == 8.0
    assert page.value(short, "late modes") == 4.0
    assert page.value(whole, "early modes") == page.value(short, "early modes") == 4.0


def test_verification_accepts_the_published_numbers_and_no_others(tiny, monkeypatch):
    checks = runs.verify(SMOKE, RECIPE)
    assert len(checks) == 6
    assert all(check["ok"] for check in checks)
    toy = runs.toy
    monkeypatch.setattr(runs, "toy", lambda *args: changed(toy(*args), pieces_h2=1))
    assert [check["ok"] for check in runs.verify(SMOKE, RECIPE)].count(False) == 2
