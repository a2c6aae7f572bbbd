"""What a chapter says, and checks, before it computes; `auto` never trains in silence."""

import importlib
import json
from pathlib import Path

import pytest
import records
import torch

from dgm_book import __main__, jobs, profiles, results
from dgm_book.chapters import CHAPTERS

CALLS = []
PUBLISHED = json.loads(jobs.COSTS.read_text("utf-8"))


def everything(datasets=(), shipped=()):
    """Three results a profile, of which those in `shipped` are there."""

    def make(profile, name):
        def compute():
            CALLS.append(name)
            return {}, {}

        return results.get(name, compute, results.Context("dgm.vae", "01_t", profile, datasets))

    for profile in shipped:
        for name in "abc":
            make(profiles.get(profile), name)
    CALLS.clear()
    return lambda profile: (make(profile, name) for name in "abc")


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """No results, no data, no cache, and costs of a chapter that was published."""
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DGM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DGM_DATA", raising=False)
    (tmp_path / "costs.json").write_text('{"01_t": {"small": {"results": 6, "cpu_hours": 5}}}')
    monkeypatch.setattr(jobs, "COSTS", tmp_path / "costs.json")


def test_auto_shows_the_largest_profile_at_hand_and_says_nothing(capsys):
    chapter = everything(("ht-sensor",), shipped=("smoke", "small"))
    profile = jobs.resolve("auto", chapter)
    assert profile.name == jobs.resolve("small", chapter).name == "small"
    assert list(jobs.collect(chapter, profile)) == ["a", "b", "c"]
    assert CALLS == []
    assert capsys.readouterr() == ("", "")


def test_a_profile_of_which_a_part_is_there_is_not_published():
    whole, part = everything(shipped=("smoke",)), everything()
    records.remove(results.folder() / "01_t" / "smoke", "b")
    assert jobs.published(part) is None
    list(whole(profiles.get("smoke")))
    assert jobs.published(whole).name == "smoke"


@pytest.mark.parametrize("gpu", [False, True])
def test_auto_without_results_says_what_small_takes_and_is_smoke(capsys, monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    profile = jobs.resolve("auto", everything(("mnist", "ht-sensor")))
    assert profile.name == "smoke"
    assert CALLS == []
    text = capsys.readouterr().out
    for part in ("3 results", "2.5 hours", "12 MB", "ht-sensor", "DGM_DATA", 'PROFILE = "small"'):
        assert part in text
    assert "mnist" not in text


def test_small_is_announced_then_computed_behind_one_bar(capsys):
    chapter = everything()
    profile = jobs.resolve("small", chapter)
    assert CALLS == []
    assert "3 results" in capsys.readouterr().out
    jobs.collect(chapter, profile)
    assert CALLS == ["a", "b", "c"]
    bars = capsys.readouterr().err.split("\r")
    assert "3/3" in bars[-1]
    assert all("/3" in bar for bar in bars if bar)


def test_unavailable_data_are_an_error_before_the_first_job():
    with pytest.raises(FileNotFoundError, match=r"DGM_DATA .* ht-sensor/ht_sensor_1min.npz"):
        jobs.resolve("small", everything(("mnist", "ht-sensor")))
    assert CALLS == []
    with pytest.raises(FileNotFoundError, match="wikitext-2/wiki"):
        __main__.main(["run", "mutual_information_lm", "--profile", "small"])


def test_data_are_fetched_before_the_first_job(monkeypatch):
    fetched = []
    monkeypatch.setattr(jobs.registry, "fetch", fetched.append)
    jobs.resolve("small", everything(("mnist", "digits")))
    assert fetched == list(jobs.registry.checksums("mnist"))
    assert CALLS == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_says_what_it_will_do_before_it_does_it(name, monkeypatch, capsys):
    chapter = importlib.import_module(f"dgm_book.chapters.{name}.page")

    def stop(*_):
        raise InterruptedError

    asked = []
    monkeypatch.setattr(jobs, "collect", stop)  # where computing begins
    monkeypatch.setattr(jobs, "datasets", lambda absent: asked.append(absent) or [])
    with pytest.raises(InterruptedError):
        chapter.chapter("auto")
    assert f"{CHAPTERS[name]} at `small`" in capsys.readouterr().out
    assert len(asked[0]) == PUBLISHED[CHAPTERS[name]]["small"]["results"]


def test_costs_are_those_of_the_published_results(monkeypatch):
    monkeypatch.undo()
    published = Path(__file__).resolve().parents[2] / "book" / "results"
    assert json.loads(jobs.COSTS.read_text()) == jobs.costs(published)
