"""Published results: kept with provenance, found again, and told when their code has changed."""

import json
import multiprocessing
import os
import shutil
import subprocess
import threading
import time

import pytest
import torch

from dgm import checkpoint
from dgm_book import profiles, results
from dgm_book.results import Context

TRIALS = int(os.environ.get("DGM_TEST_TRIALS", 20))  # of two writers; 1,000 before a release


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "results"))
    return Context(
        "dgm_book.chapters.rate_distortion.page", "01_test", profiles.get("smoke"), ("digits",)
    )


@pytest.fixture
def here(context):
    return results.folder() / "01_test" / "smoke"


@pytest.mark.parametrize(
    ("variable", "place"), [("DGM_RESULTS", "results"), ("DGM_CACHE", "cache/results")]
)
def test_folders_are_those_of_the_environment(tmp_path, monkeypatch, variable, place):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(results, "PACKAGE", tmp_path / "site-packages" / "dgm")
    for name in ("DGM_RESULTS", "DGM_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, f"~/{place.split('/')[0]}")
    assert results.folder() == tmp_path / place
    work = {"DGM_RESULTS": "results/.work", "DGM_CACHE": "cache/work"}[variable]
    assert results.work_folder() == tmp_path / work


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


def test_tensors_that_do_not_belong_to_the_json_are_refused(context, here):
    results.get("a", compute, context)
    results.get("b", lambda: ({}, {"curve": torch.zeros(3)}), context)
    shutil.copy(here / "b.safetensors", here / "a.safetensors")
    with pytest.raises(ValueError, match=r"a\.safetensors is missing, or not the file"):
        results.get("a", compute, context)
    (here / "a.safetensors").unlink()
    with pytest.raises(ValueError, match=r"a\.safetensors is missing"):
        results.get("a", compute, context)


@pytest.mark.parametrize("change", [("values", "mean", 1.25), ("provenance", "seed", 4)])
def test_values_and_provenance_are_hashed_too(context, here, change):
    results.get("a", compute, context, seed=3)
    content = json.loads((here / "a.json").read_text())
    (here / "a.json").write_text(json.dumps(content, sort_keys=True))  # the same in other words
    assert results.get("a", compute, context).values == {"mean": 1.5}
    part, key, value = change
    content[part][key] = value
    (here / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"a\.json is damaged .*altered.*remove both"):
        results.get("a", compute, context)


def test_keys_of_any_kind_come_back_with_a_valid_hash(context):
    values = {"at": {10: 0.1, 9: (1, 2)}, "b": None}
    assert results.get("a", lambda: (values, {}), context).values == {
        "at": {"10": 0.1, "9": [1, 2]},
        "b": None,
    }


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "3", "{}", '{"values": {}, "provenance": {}}', '{"values": 3}', "\xff"]
)
def test_a_malformed_result_is_named(context, here, text):
    results.get("a", compute, context)
    good = (here / "a.json").read_bytes()
    (here / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.json is damaged .*remove both"):
        results.get("a", compute, context)
    (here / "a.json").write_bytes(good)
    (here / "verified.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"verified\.json is damaged .*--verify"):
        results.get("a", compute, context)


def edit_provenance(path, **changes):
    """As if the result had been written by an earlier version, which hashed its tensors only."""
    content = json.loads(path.read_text())
    content["provenance"] |= changes
    del content["sha256"]
    path.write_text(json.dumps(content))


def test_other_code_shows_on_the_badge_until_it_is_verified(context, here):
    results.get("a", compute, context)
    edit_provenance(here / "a.json", code="0" * 16)
    stale = results.get("a", compute, context)
    assert not stale.current
    assert "earlier code" in results.badge({"": [stale]})
    results.mark_verified(context, [{"what": "all", "ok": True}])
    fresh = results.get("a", compute, context)
    assert fresh.current
    assert "earlier code" not in results.badge({"": [fresh]})


def test_other_data_shows_on_the_badge_too(context, here):
    results.get("a", compute, context)
    edit_provenance(here / "a.json", data={"digits": "another"})
    assert not results.get("a", compute, context).current


def test_the_code_is_that_at_the_start(context, monkeypatch):
    def edited():
        monkeypatch.setattr(results, "code_hash", lambda _: "edited")
        return compute()

    result = results.get("a", edited, context)
    assert result.provenance["code"] != "edited"
    assert not result.current


def test_the_commit_is_not_that_of_a_repository_around_the_package(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    if not shutil.which("git"):
        pytest.skip("needs git")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-qm", "theirs", "--allow-empty"], check=True)
    (tmp_path / "results.py").touch()
    monkeypatch.setattr(results, "PACKAGE", tmp_path)
    assert results._commit.__wrapped__() == "unknown"
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "ours"], check=True)
    assert len(results._commit.__wrapped__()) == 12


def sleep_until_killed(context):
    results.get("a", lambda: time.sleep(60), context)


def test_wall_time_is_that_of_all_sittings(context, here, monkeypatch):
    monkeypatch.setattr(results, "CLOCK_SECONDS", 0.05)
    notes = results.work_folder() / "01_test" / "smoke" / "a.seconds"
    child = multiprocessing.get_context("fork").Process(target=sleep_until_killed, args=(context,))
    child.start()
    for _ in range(200):
        if notes.exists() and float(notes.read_text()) > 0.3:
            break
        time.sleep(0.05)
    child.kill()
    child.join()

    def fails():
        time.sleep(0.3)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        results.get("a", fails, context)
    first = results.get("a", compute, context).provenance["wall_seconds"]
    assert 0.6 <= first < 30
    # Trained weights remain in the work folder when a result is removed; so does their time.
    (here / "a.json").unlink()
    assert results.get("a", compute, context).provenance["wall_seconds"] >= first


def test_the_second_of_two_waits_and_loads(context, capsys):
    calls, inside, loaded = [], threading.Event(), []

    def slow():
        calls.append(1)
        inside.set()
        time.sleep(0.8)
        return {"call": len(calls)}, {}

    first = threading.Thread(target=lambda: loaded.append(results.get("a", slow, context)))
    first.start()
    inside.wait()
    loaded.append(results.get("a", slow, context))
    first.join()
    assert [result.values for result in loaded] == [{"call": 1}] * 2
    assert "a: waiting for another process" in capsys.readouterr().err


def test_writers_without_a_common_lock_cannot_mix_in_silence(context, here, monkeypatch):
    real = checkpoint.write_bytes

    def interrupted(path, data):
        real(path, data)
        if path.suffix == ".safetensors":  # the other writer, between the first one's two files
            monkeypatch.setattr(checkpoint, "write_bytes", real)
            results._keep(here / "a.json", {"who": 2}, {"who": torch.tensor(2)}, {})

    monkeypatch.setattr(checkpoint, "write_bytes", interrupted)
    with pytest.raises(ValueError, match=r"a\.safetensors is missing, or not the file"):
        results.get("a", lambda: ({"who": 1}, {"who": torch.tensor(1)}), context)


def write_results(who, trials, context, start, queue):
    """In a child: asks for each result at the moment at which its rival does."""
    loaded, tensors = [], {"who": torch.full((5000,), who)}
    try:
        for trial in range(trials):
            start.wait()
            result = results.get(f"r{trial}", lambda: ({"who": who}, tensors), context)
            assert bool((result.tensors["who"] == result.values["who"]).all())
            loaded.append(result.values["who"])
    finally:
        start.abort()  # the rival must not wait for the dead
        queue.put(loaded)


def test_two_writers_never_mix(context):
    forks = multiprocessing.get_context("fork")
    start, queue = forks.Barrier(2), forks.SimpleQueue()
    writers = [
        forks.Process(target=write_results, args=(who, TRIALS, context, start, queue))
        for who in (1, 2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    first, second = queue.get(), queue.get()
    assert first == second
    assert len(first) == TRIALS


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package that came with a result "a" of its own at `small`, and an empty user's cache."""
    monkeypatch.delenv("DGM_RESULTS", raising=False)
    monkeypatch.setattr(results, "PACKAGE", tmp_path / "site-packages" / "dgm")
    monkeypatch.setattr(results.paths.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    own = Context("dgm.vae", "01_test", profiles.get("small"), ())
    with monkeypatch.context() as patch:
        patch.setattr(
            results, "folders", lambda: [tmp_path / "site-packages" / "dgm" / "published"]
        )
        results.get("a", compute, own)
    return own


def test_results_that_came_with_the_package_are_read_and_new_ones_go_to_the_cache(
    installed, tmp_path
):
    shipped = {p: p.read_bytes() for p in (tmp_path / "site-packages").rglob("*.*")}
    assert results.get("a", pytest.fail, installed).values == {"mean": 1.5}
    assert results.missing(results.get(name, pytest.fail, installed) for name in "ab") == [
        ("b", installed)
    ]
    results.get("b", compute, installed)
    results.mark_verified(installed, [])
    assert {p: p.read_bytes() for p in (tmp_path / "site-packages").rglob("*.*")} == shipped
    names = {p.name for p in (tmp_path / "cache").rglob("*.json")}
    assert names == {"b.json", "verified.json"}


def test_a_verification_in_the_cache_counts_for_results_of_the_package(
    installed, tmp_path, monkeypatch
):
    monkeypatch.setattr(results, "code_hash", lambda module: "another")
    assert not results.get("a", pytest.fail, installed).current
    results.mark_verified(installed, [])
    assert results.get("a", pytest.fail, installed).current


def test_the_code_hash_follows_imports_and_ignores_comments(tmp_path):
    package = tmp_path / "dgm"
    shutil.copytree(results.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))

    def hashes():
        results.code_hash.cache_clear()
        names = "dgm_book.chapters.rate_distortion.page", "dgm.vae"
        return [results.code_hash(name, package) for name in names]

    before = hashes()
    assert before[0] == results.code_hash("dgm_book.chapters.rate_distortion.page")
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


def test_a_picture_has_a_badge_of_its_own(context):
    made = {s: results.get(f"a-seed{s}", compute, context, seed=s) for s in range(3)}
    other = results.get("b", compute, context._replace(datasets=("digits", "mnist")), seed=0)
    several = results.own_badge(list(made.values()), n="7 images")
    assert "digits · 7 images · 3 seeds" in several
    assert "digits, mnist · 1 to 3 seeds" in results.own_badge([other], list(made.values()))
    assert " · 1 seed · " in results.own_badge([made[0]])
