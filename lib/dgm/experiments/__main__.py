"""Run a chapter's experiments without a notebook; interrupted runs are picked up where they stopped.

python -m dgm.experiments rate_distortion --profile small --seed 0
python -m dgm.experiments rate_distortion --verify
"""

import argparse
import importlib
import sys

import torch

from dgm import jobs, profiles, results
from dgm.experiments import CHAPTERS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dgm.experiments", description=__doc__)
    parser.add_argument("chapter", choices=[*CHAPTERS, *CHAPTERS.values()])
    parser.add_argument(
        "--profile",
        choices=profiles.NAMES,
        help="smoke when left out; what is published for --verify",
    )
    parser.add_argument("--seed", type=int, help="one seed; all of the profile's when left out")
    parser.add_argument("--device", help="cpu or cuda; the profile chooses when left out")
    parser.add_argument("--threads", type=int, help="PyTorch threads; one on a CPU when left out")
    parser.add_argument(
        "--verify", action="store_true", help="recompute a sample of what is published"
    )
    options = parser.parse_args(arguments)
    name = options.chapter if options.chapter in CHAPTERS else options.chapter.split("_", 1)[1]
    chapter = importlib.import_module(f"dgm.experiments.{name}")
    chosen = options.profile or "smoke"
    if options.verify:
        whole = jobs.published(jobs.over_seeds(chapter.run, 0))
        if whole is None or options.profile not in (None, whole.name):
            parser.error(
                f"nothing to verify: the profile published whole is {whole and whole.name}"
            )
        chosen = whole.name
    profile = profiles.get(chosen, options.device)
    if threads := options.threads or profile.threads:
        torch.set_num_threads(threads)
    if options.verify:
        return 0 if verify(chapter, profile) else 1
    seeds = range(profile.n_seeds) if options.seed is None else [options.seed]
    jobs.announce(results.missing(r for seed in seeds for r in chapter.run(profile, seed)))
    for seed in seeds:
        for done in chapter.run(profile, seed):
            print(f"{done.name}: {done.provenance['wall_seconds']} s", flush=True)
    return 0


def verify(chapter, profile: profiles.Profile) -> bool:
    """Recompute a sample, print each check, and clear the badge if all of them hold."""
    checks = chapter.verify(profile)
    for check in checks:
        print(
            f"{'ok  ' if check['ok'] else 'FAIL'} {check['what']}: published "
            f"{check['published']:.4f}, now {check['recomputed']:.4f}, four standard errors "
            f"{4 * check['standard_error']:.4f}"
        )
    if all(check["ok"] for check in checks):
        results.mark_verified(chapter.context(profile), checks)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
