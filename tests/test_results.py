"""Published results: kept with provenance, found again, and told when their code has changed."""

import json
import shutil

import pytest
import torch

from dgm import profiles, results
from dgm.results import Context


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "results"))
    return Context("dgm.experiments.rate_distortion", "01_test", profiles.get("smoke"), ("digits",))


def compute():
    return {"mean": 1.5}, {"curve": torch.arange(3.0)}


def test_a_result_is_computed_once_and_then_loaded(context):
    calls = []

    def counted():
        calls.append(1)
        return compute()

    first = results.get("a", counted, context, seed=3)
    again = results.get("a", counted, context, seed=3)
    assert len(calls) == 1
    assert first.values == again.values == {"mean": 1.5}
    assert torch.equal(again.tensors["curve"], torch.arange(3.0))
    assert again.current


def test_provenance_is_whole(context):
    found = results.get("a", compute, context, seed=3).provenance
    assert found["profile"] == "smoke"
    assert found["seed"] == 3
    assert found["torch"] == torch.__version__
    assert set(found["data"]) == {"digits"}
    assert found["wall_seconds"] >= 0
    assert {"device", "commit", "code", "date", "tensors_sha256"} <= set(found)


def test_a_failed_computation_leaves_nothing(context):
    def fails():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        results.get("a", fails, context)
    assert not list(results.folder().rglob("*.json"))


def test_values_that_are_not_numbers_are_not_kept(context):
    with pytest.raises(ValueError, match="JSON"):
        results.get("a", lambda: ({"mean": float("nan")}, {}), context)
    assert not list(results.folder().rglob("*.json"))


def test_tensors_that_do_not_belong_to_the_json_are_refused(context):
    results.get("a", compute, context)
    results.get("b", lambda: ({}, {"curve": torch.zeros(3)}), context)
    here = results.folder() / "01_test" / "smoke"
    shutil.copy(here / "b.safetensors", here / "a.safetensors")
    with pytest.raises(ValueError, match=r"a\.safetensors is not the file"):
        results.get("a", compute, context)


def test_other_code_shows_on_the_badge_until_it_is_verified(context):
    results.get("a", compute, context)
    path = results.folder() / "01_test" / "smoke" / "a.json"
    content = json.loads(path.read_text())
    content["provenance"]["code"] = "0" * 16
    path.write_text(json.dumps(content))
    stale = results.get("a", compute, context)
    assert not stale.current
    assert "earlier code" in results.badge([stale])
    results.mark_verified(context, [{"what": "all", "ok": True}])
    fresh = results.get("a", compute, context)
    assert fresh.current
    assert "earlier code" not in results.badge([fresh])


def test_other_data_shows_on_the_badge_too(context):
    results.get("a", compute, context)
    path = results.folder() / "01_test" / "smoke" / "a.json"
    content = json.loads(path.read_text())
    content["provenance"]["data"] = {"digits": "another"}
    path.write_text(json.dumps(content))
    assert not results.get("a", compute, context).current


def test_published_takes_the_largest_whole_profile(context):
    def names(profile):
        return ["a", "b"]

    assert results.published("01_test", names) is None
    results.get("a", compute, context)
    assert results.published("01_test", names) is None
    results.get("b", compute, context)
    assert results.published("01_test", names) == "smoke"
    assert results.resolve("auto", "01_test", names).name == "smoke"
    assert results.resolve("paper", "01_test", names).name == "paper"


def test_the_code_hash_follows_imports_and_ignores_comments(tmp_path):
    package = tmp_path / "dgm"
    shutil.copytree(results.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))

    def hashes():
        results.code_hash.cache_clear()
        names = "dgm.experiments.rate_distortion", "dgm.vae"
        return [results.code_hash(name, package) for name in names]

    before = hashes()
    assert before[0] == results.code_hash("dgm.experiments.rate_distortion")
    schedule = package / "sampling" / "schedules.py"
    source = schedule.read_text()
    schedule.write_text("# a remark\n" + source.replace('"""A schedule', '"""Some schedule'))
    assert hashes() == before
    schedule.write_text(source.replace("2.0 * max(latent_dim, 8)", "2.5 * max(latent_dim, 8)"))
    after = hashes()
    assert after[0] != before[0]  # the experiment imports the schedules by way of the paper
    assert after[1] == before[1]  # the VAE does not


def test_profiles():
    assert profiles.get("smoke").device == "cpu"
    assert profiles.get("small").n_seeds == 3
    with pytest.raises(ValueError, match="one of smoke, small, paper"):
        profiles.get("huge")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no GPU answers"):
            profiles.get("small", "cuda")
