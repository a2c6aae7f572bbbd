"""What is missing of all chapters at a profile, run one seed at a time, the cheapest first.

`python -m dgm_book queue` may be stopped and started anew: only what is missing is run, and a run
goes on from its last checkpoint. Each has a log of its own in the work folder.
"""

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dgm_book import jobs, profiles, results
from dgm_book.chapters import CHAPTERS

COMMAND = (sys.executable, "-m", "dgm_book")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
POLL_SECONDS = 1.0


class Run(NamedTuple):
    """One seed of a chapter."""

    chapter: str  # a key of `CHAPTERS`
    seed: int
    n_results: int  # missing ones
    hours: float | None  # of one CPU core; None where the profile's cost is not known

    def __str__(self) -> str:
        cost = "a time not measured yet" if self.hours is None else f"{self.hours:.2f} hours"
        return f"{self.chapter}, seed {self.seed}: {self.n_results} results, {cost}"


def main(profile_name: str, device: str | None, processes: int, only_list: bool) -> int:
    """Lists or runs what is missing; 1 where a run failed. ValueError for no process."""
    if processes < 1:
        raise ValueError(f"processes must be 1 or more, got {processes}")
    runs = missing_runs(profiles.get(profile_name, device))
    print(*runs, total(runs), sep="\n", flush=True)
    if only_list:
        return 0
    options = ["--profile", profile_name, *(["--device", device] if device else [])]
    failed = execute(runs, options, results.work_folder() / "queue" / profile_name, processes)
    if failed:
        print(f"{len(failed)} of {len(runs)} runs failed; start the queue anew to try them again:")
        print(*failed, sep="\n")
    return int(bool(failed))


def missing_runs(profile: profiles.Profile) -> list[Run]:
    """Every chapter and seed of which a result is missing, the cheapest first."""
    runs = []
    for name in CHAPTERS:
        chapter = importlib.import_module(f"dgm_book.chapters.{name}.run")
        for seed in range(profile.n_seeds):
            if absent := results.missing(chapter.run(profile, seed)):
                runs.append(Run(name, seed, len(absent), jobs.cpu_hours(absent)))
    return sorted(runs, key=lambda run: (run.hours is None, run.hours or run.n_results))


def total(runs: Sequence[Run]) -> str:
    """What the runs take together, in a line."""
    hours = [run.hours for run in runs if run.hours is not None]
    unknown = len(runs) - len(hours)
    known = f"{len(runs)} runs left, at least {sum(hours):.1f} hours of one CPU core"
    return known + f", and the time of {unknown} not measured yet" * bool(unknown)


def execute(runs: Sequence[Run], options: list[str], logs: Path, processes: int) -> list[str]:
    """Runs all, at most so many at a time; those that failed, each with the name of its log."""
    logs.mkdir(parents=True, exist_ok=True)
    waiting, running, failed = list(runs), {}, []
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                run = waiting.pop(0)
                running[run] = start(run, options, logs / f"{run.chapter}-seed{run.seed}.log")
            ended = [run for run, process in running.items() if process.poll() is not None]
            for run in ended:
                code = running.pop(run).returncode
                log = logs / f"{run.chapter}-seed{run.seed}.log"
                if code:
                    failed.append(f"{run.chapter}, seed {run.seed}: exit code {code}, see {log}")
                print(f"FAILED {failed[-1]}" if code else f"done {run}", flush=True)
                print(total([*waiting, *running]), flush=True)
            if not ended:
                time.sleep(POLL_SECONDS)
    finally:
        for process in running.values():
            process.terminate()
    return failed


def start(run: Run, options: list[str], log: Path) -> subprocess.Popen:
    """Starts a run, whose output is added to its log."""
    command = [*COMMAND, "run", run.chapter, "--seed", str(run.seed), *options]
    with log.open("a", encoding="utf-8") as file:
        streams = {"stdout": file, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(command, env={**os.environ, **ONE_THREAD}, **streams)
