"""What a chapter would have to compute: announced, its data checked, before the first job.

`costs.json` beside this file holds how many results each chapter has published, and the processor
hours that they took. It is written by `python -m dgm_book.jobs` and not edited by hand.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from dgm.checkpoint import write_text
from dgm.data import registry
from dgm.progress import progress_bar
from dgm_book import profiles, results
from dgm_book.results import Context, Result

COSTS = Path(__file__).with_name("costs.json")
Everything = Callable[[profiles.Profile], Iterable[Result]]


def over_seeds(run: Callable[..., Iterable[Result]], first_seed: int, **options: Any) -> Everything:
    """A chapter's results by `run(profile, seed, first_seed)`, of all seeds from the first one."""
    return lambda profile: (
        result
        for seed in range(first_seed, first_seed + profile.n_seeds)
        for result in run(profile, seed, first_seed, **options)
    )


def published(everything: Everything) -> profiles.Profile | None:
    """The largest profile of which every result is at hand; None where none is."""
    for name in reversed(profiles.NAMES):
        if not results.missing(everything(profile := profiles.get(name))):
            return profile
    return None


def load(
    run: Callable[..., Iterable[Result]], profile_name: str, first_seed: int, **options: Any
) -> tuple[profiles.Profile, dict[str, Result]]:
    """A chapter's profile and its results by name, loaded or computed; arguments of over_seeds."""
    everything = over_seeds(run, first_seed, **options)
    profile = resolve(profile_name, everything)
    if profile.threads:
        torch.set_num_threads(profile.threads)
    return profile, collect(everything, profile)


def resolve(profile_name: str, everything: Everything) -> profiles.Profile:
    """The profile of that name, announced before anything is computed."""
    if profile_name != "auto":
        profile = profiles.get(profile_name)
        announce(results.missing(everything(profile)))
        return profile
    if profile := published(everything):
        return profile
    print(
        "No published results of this chapter were found, so `smoke` runs: a minute or two, small "
        f"models.\n{statement(results.missing(everything(profiles.get('small'))))}\n"
        'To compute them, set PROFILE = "small".'
    )
    return profiles.get("smoke")


def announce(absent: list[tuple[str, Context]]) -> None:
    """Says what computing these results takes, and fetches all their data; smoke needs no word.

    FileNotFoundError where data are neither here nor at a public address.
    """
    sets = datasets(absent)
    if files := [path for name in sets for path in registry.unavailable(name)]:
        raise FileNotFoundError(
            f"{statement(absent)}\nNothing was computed: set DGM_DATA to a folder with "
            + ", ".join(files)
        )
    if absent and absent[0][1].profile.name != "smoke":
        print(statement(absent), flush=True)
    for name in sets:
        registry.fetch_all(name)


def statement(absent: list[tuple[str, Context]]) -> str:
    """What computing these results takes, in a sentence or two."""
    _, context = absent[0]
    chapter, profile, sets = context.chapter, context.profile.name, datasets(absent)
    spent, hours = cpu_hours(absent), "a time not measured yet"
    if spent is not None:
        hours = f"at least {spent:.1f} hours on one CPU core"
    megabytes = sum(registry.download_bytes(name) for name in sets) / 1e6
    text = (
        f"{chapter} at `{profile}`: {len(absent)} results to compute, {hours}, "
        f"{megabytes:.0f} MB of data to download."
    )
    if unavailable := [name for name in sets if registry.unavailable(name)]:
        text += f" No public address is known of {', '.join(unavailable)}: only DGM_DATA has them."
    return text


def cpu_hours(absent: list[tuple[str, Context]]) -> float | None:
    """Hours of one core for these results by `COSTS`; None where their profile has none."""
    _, context = absent[0]
    known = json.loads(COSTS.read_text("utf-8")).get(context.chapter, {}).get(context.profile.name)
    return len(absent) / known["results"] * known["cpu_hours"] if known else None


def datasets(absent: list[tuple[str, Context]]) -> list[str]:
    """The data sets that results need, each once."""
    return list(dict.fromkeys(name for _, context in absent for name in context.datasets))


def collect(everything: Everything, profile: profiles.Profile) -> dict[str, Result]:
    """A chapter's results by name, loaded or computed; one bar over all that are computed."""
    absent = {name for name, _ in results.missing(everything(profile))}
    loaded = {}
    with progress_bar(total=len(absent), unit="result", disable=not absent) as bar:
        for result in everything(profile):
            loaded[result.name] = result
            bar.update(result.name in absent)
    return loaded


def grouped(rows: Iterable[tuple[Any, str, Result]]) -> dict[Any, dict[str, list[Result]]]:
    """Results in lists, by two keys such as a data set and a variant."""
    groups: dict = {}
    for first, second, result in rows:
        groups.setdefault(first, {}).setdefault(second, []).append(result)
    return groups


def costs(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Results and processor hours of each chapter and profile that is published in a folder."""
    table: dict = {}
    for path in sorted(folder.glob("*/*/results.json")):
        chapter, profile = path.parts[-3:-1]
        if profile == "smoke":
            continue
        records = json.loads(path.read_text("utf-8")).values()
        seconds = [record["provenance"]["wall_seconds"] for record in records]
        table.setdefault(chapter, {})[profile] = {
            "results": len(seconds),
            "cpu_hours": round(sum(second / 3600 for second in seconds), 2),
        }
    return table


if __name__ == "__main__":
    write_text(COSTS, json.dumps(costs(results.folder()), indent=1) + "\n")
