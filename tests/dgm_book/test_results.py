"""Published results: written with provenance, read back whole, marked where code changed."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest
import records
import torch

from dgm import checkpoint
from dgm_book import profiles, results
from dgm_book.results import Context

TRIALS = int(os.environ.get("DGM_TEST_TRIALS", 20))  # of rival writers; 1,000 before a release
FORKS = multiprocessing.get_context("fork")


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "results"))
    module = "dgm_book.chapters.rate_distortion.page"
    return Context(module, "01_test", profiles.get("smoke"), ("digits",))


@pytest.fixture
def place(context):
    return results.folder() / "01_test" / "smoke"


FOLDERS = {
    "DGM_RESULTS": ("results", "results/.work"),
    "DGM_CACHE": ("cache/results", "cache/work"),
}


@pytest.mark.parametrize("variable", FOLDERS)
def test_folders_are_those_of_the_environment(tmp_path, monkeypatch, variable):
    folder, work = FOLDERS[variable]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(results, "LIBRARY", tmp_path / "site-packages")
    for name in ("DGM_RESULTS", "DGM_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, f"~/{folder.split('/')[0]}")
    assert results.folder() == tmp_path / folder
    assert results.work_folder() == tmp_path / work


def compute():
    return {"mean": 1.5}, {"curve": torch.arange(3.0)}


def large(value=0.0):
    return lambda: ({"value": value}, {"weights": torch.full((9000,), value)})


def any_keys():
    return {"at": {"10": 0.1, 9: (1, 2)}, "b": None}, {}


@pytest.mark.parametrize("compute", [compute, large(), any_keys])
def test_a_result_is_computed_once_and_then_loaded(context, compute):
    values, tensors = compute()
    first = results.get("a", compute, context, seed=3)
    loaded = results.get("a", pytest.fail, context, seed=3)
    for result in (first, loaded):
        assert result.values == json.loads(json.dumps(values))
        assert list(result.tensors) == list(tensors)
        assert all(torch.equal(result.tensors[key], tensors[key]) for key in tensors)
        assert result.current
    provenance = first.provenance
    assert provenance == loaded.provenance
    expected = {"profile": "smoke", "seed": 3, "torch": torch.__version__}
    assert expected.items() <= provenance.items()
    assert set(provenance["data"]) == {"digits"}
    assert provenance["wall_seconds"] >= 0
    assert {"device", "commit", "code", "date", "tensors_sha256"} <= set(provenance)


def test_results_share_few_files_and_a_large_one_has_its_own(context, place):
    for name in "cab":
        results.get(name, compute, context)
    results.get("model", large(), context)
    results.get("numbers", lambda: ({}, {}), context)
    files = {"results.json", "results.safetensors", "model.safetensors"}
    assert {p.name for p in place.iterdir()} == files
    names = list(json.loads((place / "results.json").read_text()))
    assert names == ["a", "b", "c", "model", "numbers"]
    small = checkpoint.load(place / "results.safetensors")
    assert list(small) == ["a", "b", "c"]
    assert torch.equal(small["b"]["curve"], torch.arange(3.0))


def test_what_a_reader_changes_changes_no_other_reader_s(context):
    results.get("a", compute, context)
    changed = results.get("a", compute, context)
    changed.values["mean"] = 7
    changed.provenance.clear()
    changed.tensors["curve"].zero_()
    result = results.get("a", compute, context)
    assert (result.values, result.provenance["profile"]) == ({"mean": 1.5}, "smoke")
    assert torch.equal(result.tensors["curve"], torch.arange(3.0))


def test_a_failed_computation_leaves_nothing(context):
    with pytest.raises(ZeroDivisionError):
        results.get("a", lambda: 1 / 0, context)
    with pytest.raises(ValueError, match="JSON"):
        results.get("a", lambda: ({"mean": float("nan")}, {}), context)
    with pytest.raises(ValueError, match="cannot be named 'results'"):
        results.get("results", compute, context)
    assert not list(results.folder().rglob("*.json"))


@pytest.mark.parametrize("compute", [compute, large()])
@pytest.mark.parametrize("damage", ["exchanged", "missing"])
def test_tensors_that_do_not_belong_to_the_record_are_refused(context, place, compute, damage):
    results.get("a", compute, context)
    (path,) = place.glob("*.safetensors")
    tree = checkpoint.load(path)
    path.unlink()
    if damage == "exchanged":
        for value in tree.get("a", tree).values():
            value.add_(1)
        checkpoint.save(path, tree)
    with pytest.raises(ValueError, match="the tensors of 'a' are missing, or those in"):
        results.get("a", compute, context)
    records.remove(place, "a")
    assert results.get("a", compute, context).values == compute()[0]


@pytest.mark.parametrize("change", [("values", "mean", 1.25), ("provenance", "seed", 4)])
def test_values_and_provenance_are_hashed_too(context, place, change):
    results.get("a", compute, context, seed=3)
    content = json.loads((place / "results.json").read_text())
    reordered = json.dumps(content, sort_keys=True)
    (place / "results.json").write_text(reordered)  # the same in other words
    assert results.get("a", compute, context).values == {"mean": 1.5}
    part, key, value = change
    content["a"][part][key] = value
    (place / "results.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"results\.json is damaged .*'a' was altered"):
        results.get("a", compute, context)


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"a": {"values": {"mean": 1.5',  # truncated
        "[1]",
        '{"a": 3, "code": NaN}',
        '{"a": 3}',
        '{"a": {"values": {}, "provenance": {}}}',
        "\xff",
    ],
)
@pytest.mark.parametrize("name", ["results.json", "verified.json"])
def test_a_malformed_file_is_named(context, place, name, text):
    results.get("a", compute, context)
    (place / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"{name} is damaged .*restore it, or remove"):
        results.get("a", compute, context)


def test_other_code_shows_on_the_badge_until_it_is_verified(context, place):
    for name in "ab":
        results.get(name, compute, context, seed=0)
    records.edit(place, "a", code="0" * 16)
    records.edit(place, "b", data={"digits": "another"})
    assert not results.get("b", compute, context).current
    stale = results.get("a", compute, context)
    assert not stale.current
    assert "earlier code" in results.badge({"": [stale]})
    results.mark_verified(context, [{"what": "all", "ok": True}])
    fresh = results.get("a", compute, context)
    assert fresh.current
    assert "earlier code" not in results.badge({"": [fresh]})


def test_the_code_is_that_at_the_start(context, monkeypatch):
    def edited():
        monkeypatch.setattr(results, "code_hash", lambda _: "edited")
        return compute()

    result = results.get("a", edited, context)
    assert result.provenance["code"] != "edited"
    assert not result.current


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_commit_is_not_that_of_a_repository_around_the_package(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-qm", "theirs", "--allow-empty"], check=True)
    (tmp_path / "dgm_book").mkdir()
    (tmp_path / "dgm_book" / "results.py").touch()
    monkeypatch.setattr(results, "LIBRARY", tmp_path)
    assert results._commit.__wrapped__() == "unknown"
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "ours"], check=True)
    assert len(results._commit.__wrapped__()) == 12


def test_wall_time_is_that_of_all_sittings(context, place, monkeypatch):
    monkeypatch.setattr(results, "CLOCK_SECONDS", 0.05)
    notes = results.work_folder() / "01_test" / "smoke" / "a.seconds"
    child = FORKS.Process(target=results.get, args=("a", lambda: time.sleep(60), context))
    child.start()
    for _ in range(200):
        if notes.exists() and float(notes.read_text()) > 0.3:
            break
        time.sleep(0.05)
    child.kill()
    child.join()

    with pytest.raises(ZeroDivisionError):
        results.get("a", lambda: time.sleep(0.3) or 1 / 0, context)
    first = results.get("a", compute, context).provenance["wall_seconds"]
    assert 0.6 <= first < 30
    # Trained weights remain in the work folder when a result is removed; so does their time.
    records.remove(place, "a")
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


def write_in_step(context, start, queue, who):
    """In a child: writes results of common and of own names when its rivals do, trial by trial."""
    outcomes = []
    try:
        for trial in range(TRIALS):
            tensors = {"who": torch.full(([3, 9000][trial % 2],), who)}
            start.wait()
            for name in (f"r{trial}", f"r{trial}-{who}"):
                result = results.get(name, lambda: ({"who": who}, tensors), context)  # noqa: B023
                assert bool((result.tensors["who"] == result.values["who"]).all())
                outcomes.append((name, result.values["who"]))
    finally:
        start.abort()  # the rivals must not wait for the dead
        queue.put(outcomes)


def test_rival_writers_never_mix_and_lose_nothing(context, place):
    queue = FORKS.SimpleQueue()
    given = context, FORKS.Barrier(4), queue
    children = [FORKS.Process(target=write_in_step, args=(*given, who)) for who in range(4)]
    for child in children:
        child.start()
    outcomes = [outcome for _ in children for outcome in queue.get()]
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert len(outcomes) == 8 * TRIALS
    assert len(set(outcomes)) == 5 * TRIALS, "all have read one result of a common name"
    assert len(json.loads((place / "results.json").read_text())) == 5 * TRIALS
    for name, who in outcomes:
        result = results.get(name, pytest.fail, context)
        assert bool((result.tensors["who"] == who).all())


def write_and_die(context, name, compute, stage):
    """In a child: is killed just before or after a file that holds a result is put in place."""
    real, places = os.replace, iter(range(10))

    def dying(source, target):
        if ".work" in str(target):
            return real(source, target)
        moment = next(places)
        if stage == (moment, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target)
        if stage == (moment, "after"):
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = dying
    results.get(name, compute, context)


@pytest.mark.parametrize("compute", [compute, large(2.0)], ids=["small", "large"])
@pytest.mark.parametrize("stage", [(k, when) for k in (0, 1) for when in ("before", "after")])
def test_a_kill_at_any_stage_leaves_each_result_whole_or_absent(context, place, stage, compute):
    for name, earlier in {"a": large(1.0), "b": lambda: ({}, {"curve": torch.ones(2)})}.items():
        results.get(name, earlier, context)
    child = FORKS.Process(target=write_and_die, args=(context, "new", compute, stage))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    absent = results.missing(results.get(n, pytest.fail, context) for n in ("a", "b", "new"))
    assert [name for name, _ in absent] == ([] if stage == (1, "after") else ["new"])
    for left in place.glob(".*.tmp"):
        os.utime(left, (0, 0))  # an hour later it is removed
    result = results.get("new", compute, context)
    values, tensors = compute()
    assert result.values == values
    assert all(torch.equal(result.tensors[key], tensors[key]) for key in tensors)
    assert bool((results.get("a", pytest.fail, context).tensors["weights"] == 1).all())
    assert bool((results.get("b", pytest.fail, context).tensors["curve"] == 1).all())
    assert not list(place.glob(".*.tmp"))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package that came with a result "a" of its own at `small`, and an empty user's cache."""
    monkeypatch.delenv("DGM_RESULTS", raising=False)
    monkeypatch.setattr(results, "LIBRARY", tmp_path / "site-packages")
    monkeypatch.setattr(results.paths.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    own = Context("dgm.vae", "01_test", profiles.get("small"), ())
    with monkeypatch.context() as patch:
        published = tmp_path / "site-packages" / "dgm_book" / "published"
        patch.setattr(results, "folders", lambda: [published])
        results.get("a", compute, own)
    return own


def test_results_of_the_package_are_read_and_new_ones_go_to_the_cache(
    installed, tmp_path, monkeypatch
):
    shipped = {p: p.read_bytes() for p in (tmp_path / "site-packages").rglob("*.*")}
    assert results.get("a", pytest.fail, installed).values == {"mean": 1.5}
    absent = results.missing(results.get(name, pytest.fail, installed) for name in "ab")
    assert absent == [("b", installed)]
    results.get("b", compute, installed)
    (path,) = (tmp_path / "cache").rglob("results.json")
    assert list(json.loads(path.read_text())) == ["b"]
    monkeypatch.setattr(results, "code_hash", lambda module: "another")
    assert not results.get("a", pytest.fail, installed).current
    results.mark_verified(installed, [])
    assert results.get("a", pytest.fail, installed).current
    assert {p: p.read_bytes() for p in (tmp_path / "site-packages").rglob("*.*")} == shipped


def test_profiles():
    assert profiles.get("smoke").device == "cpu"
    assert profiles.get("small").n_seeds == 3
    with pytest.raises(ValueError, match="one of smoke, small, paper"):
        profiles.get("huge")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no GPU answers"):
            profiles.get("small", "cuda")
