"""The queue: in order of cost, going on where it ended and past what fails."""

import json
import sys

import fake_chapters
import pytest

from dgm_book import __main__, jobs, queue, results


@pytest.fixture(autouse=True)
def chapters(tmp_path, monkeypatch):
    """Three chapters, of which two have known costs; returns what they computed, line by line."""
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DGM_TRACE", str(tmp_path / "trace"))
    costs = {"01_dear": 5.0, "03_cheap": 0.5}
    known = {k: {"smoke": {"results": 4, "cpu_hours": v}} for k, v in costs.items()}
    (tmp_path / "costs.json").write_text(json.dumps(known))
    monkeypatch.setattr(jobs, "COSTS", tmp_path / "costs.json")
    monkeypatch.setattr(queue, "CHAPTERS", fake_chapters.CHAPTERS)
    monkeypatch.setattr(queue, "COMMAND", (sys.executable, fake_chapters.__file__))
    for name, module in fake_chapters.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "trace").touch()
    return lambda: (tmp_path / "trace").read_text().splitlines()


def run(*options):
    return __main__.main(["queue", "--profile", "smoke", *options])


def test_the_list_is_in_order_of_cost_and_runs_nothing(chapters, capsys):
    assert run("--list") == 0
    *rows, total = capsys.readouterr().out.splitlines()
    assert rows == [
        "cheap, seed 0: 2 results, 0.25 hours",
        "dear, seed 0: 2 results, 2.50 hours",
        "broken, seed 0: 2 results, a time not measured yet",
    ]
    assert total == (
        "3 runs left, at least 2.8 hours of one CPU core, and the time of 1 not measured yet"
    )
    assert chapters() == []


def test_what_fails_is_named_and_run_anew_from_where_it_was(chapters, capsys, monkeypatch):
    monkeypatch.setenv("DGM_BREAK", "1")
    assert run("--processes", "2") == 1
    assert sorted(chapters()) == ["broken a 1", "cheap a 1", "cheap b 1", "dear a 1", "dear b 1"]
    assert chapters().index("cheap a 1") < chapters().index("broken a 1")
    text = capsys.readouterr().out
    assert "1 of 3 runs failed" in text
    assert "broken, seed 0: exit code 1, see" in text
    log = results.work_folder() / "queue" / "smoke" / "broken-seed0.log"
    assert "broken on purpose" in log.read_text()

    monkeypatch.delenv("DGM_BREAK")
    assert run() == 0
    assert len(chapters()) == 6
    assert chapters()[-1] == "broken b 1"
    assert "broken on purpose" in log.read_text()
    capsys.readouterr()
    assert run() == 0
    assert capsys.readouterr().out == "0 runs left, at least 0.0 hours of one CPU core\n"


def test_its_runs_end_with_it(tmp_path, monkeypatch):
    started, start = [], queue.start

    def stop(seconds):
        assert len(started) == 2
        raise KeyboardInterrupt

    monkeypatch.setattr(queue, "COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
    monkeypatch.setattr(queue, "start", lambda *rest: started.append(start(*rest)) or started[-1])
    monkeypatch.setattr(queue.time, "sleep", stop)
    runs = [queue.Run("cheap", seed, 1, None) for seed in range(3)]
    with pytest.raises(KeyboardInterrupt):
        queue.execute(runs, [], tmp_path / "logs", 2)
    assert [process.wait() for process in started] == [-15, -15]


def test_there_is_at_least_one_process():
    with pytest.raises(ValueError, match="processes must be 1 or more"):
        run("--processes", "0")
