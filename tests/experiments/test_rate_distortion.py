"""Chapter 1's experiment at a tiny size: complete, resumable, verified, and judged by its results."""

import json

import pytest
import torch

from dgm import profiles, results
from dgm.experiments import CHAPTERS, all_claims
from dgm.experiments import __main__ as command
from dgm.experiments import rate_distortion as experiment
from dgm.sampling import schedules

SIZES = experiment.settings  # before the fixture puts smaller ones in its place


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A whole chapter at the smallest size that still means something."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DGM_RESULTS", str(tmp_path_factory.mktemp("results")))
    settings = experiment.Settings(
        "digits", (16,), 150, 32, 5e-3, schedules.log_spaced(6, 0.05, 50.0)[1:],
        8, 6, 4, 4, (0.4, 50.0), 4, 61,
    )  # fmt: skip
    patch.setattr(experiment, "settings", lambda profile: settings)
    assert command.main(["rate_distortion", "--profile", "smoke"]) == 0
    yield profiles.get("smoke")
    patch.undo()


def test_chapter_loads_what_was_published(tiny, monkeypatch):
    monkeypatch.setattr(experiment, "_model", None)  # nothing may be trained again
    found = experiment.chapter("auto")
    assert found.profile.name == "smoke"
    assert found.shape == (8, 8)
    assert found.curves["vae10"][0].tensors["rate"].shape == (6, 6)
    assert [r.values["beta"] for r in found.gaps["vae2"]] == [0.4, 50.0]
    assert "earlier code" not in found.badge
    assert {r.stem for r in results.folder().rglob("*.json")} == set(experiment.names(tiny))


def test_claims_follow_the_results(tiny):
    claims = all_claims()
    assert len(claims) == 7
    assert {c.verdict for c in claims} <= {"holds", "does not hold", "not tested"}
    assert claims[-1].verdict == "not tested"
    found = experiment.chapter("smoke")
    broken = found.gaps["vae10"][0]._replace(
        values={"beta": 0.4, "gap": 5.0, "standard_error": 0.1, "n_images": 4}
    )
    worse = found._replace(gaps={**found.gaps, "vae10": [broken]})
    assert experiment.claims(worse)[2].verdict == "does not hold"


def test_the_chapter_has_one_name():
    assert CHAPTERS["rate_distortion"] == experiment.CHAPTER


def test_page_models_and_curves(tiny):
    found = experiment.chapter("smoke")
    models, golden, calibration = experiment.page_models(found)
    codes, images = golden["vae2"]
    assert images.shape == (8, 64)
    assert codes.shape == (8, 2)
    assert calibration["vae2"].shape == (2000, 2)
    assert models["vae10"][0].weight.shape == (16, 10)
    for curve in experiment.page_curves(found):
        assert curve["codes"].shape[:2] == (6, 6)
        assert len(curve["legendre_rate"]) == 6


def test_summary_joins_both_errors(tiny):
    runs = experiment.chapter("smoke").curves["vae2"]
    one = experiment.summary(runs)
    rate = runs[0].tensors["rate"]
    torch.testing.assert_close(one.rate_error, rate.std(1) / 6**0.5)
    shifted = runs[0]._replace(tensors={**runs[0].tensors, "rate": rate + 2.0})
    both = experiment.summary([runs[0], shifted])
    torch.testing.assert_close(both.rate, one.rate + 1.0)
    torch.testing.assert_close(both.rate_error, (one.rate_error.square() + 1.0).sqrt())


def test_verify_clears_the_badge(tiny, monkeypatch):
    path = results.folder() / "01_rate_distortion" / "smoke" / "vae2-seed0-curve.json"
    content = json.loads(path.read_text())
    content["provenance"]["code"] = "0" * 16
    path.write_text(json.dumps(content))
    assert "earlier code" in experiment.chapter("smoke").badge
    assert command.main(["rate_distortion", "--verify"]) == 0
    assert "earlier code" not in experiment.chapter("smoke").badge
    (path.parent / "verified.json").unlink()


def test_verify_fails_where_the_numbers_are_others(tiny, monkeypatch, capsys):
    right = experiment._curve

    def wrong(*arguments, **options):
        found = right(*arguments, **options)
        return found._replace(log_z=found.log_z - 1.0)

    monkeypatch.setattr(experiment, "_curve", wrong)
    assert command.main(["01_rate_distortion", "--profile", "smoke", "--verify"]) == 1
    assert "FAIL vae2 log_z" in capsys.readouterr().out
    assert not (results.folder() / "01_rate_distortion" / "smoke" / "verified.json").exists()


def test_verify_needs_something_published(tiny, capsys):
    with pytest.raises(SystemExit):
        command.main(["rate_distortion", "--profile", "paper", "--verify"])
    assert "nothing to verify: the profile published whole is smoke" in capsys.readouterr().err


def test_paper_and_small_sizes():
    small = SIZES(profiles.get("small"))
    assert small.hidden == (256, 256)
    assert (small.n_images, small.n_chains, small.n_leapfrog) == (50, 16, 10)
    assert 1900 < small.temperatures_per_beta * len(small.betas) < 2100
    paper = SIZES(profiles.get("paper"))
    assert paper.hidden == (1024, 1024, 1024)
    assert (paper.n_images, paper.n_chains, paper.n_leapfrog) == (50, 40, 20)
    assert paper.temperatures_per_beta * len(paper.betas) == 60_000
    assert float(paper.betas[-1]) == 36_000
