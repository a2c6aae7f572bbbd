"""Train, measure and verify a chapter without its notebook."""

import argparse
import importlib
from typing import Any

import torch

from dgm_book import jobs, profiles, results
from dgm_book.chapters import CHAPTERS

__all__ = ["UsageError", "run", "verify"]


class UsageError(Exception):
    """What was asked for cannot be done; the message says why."""


def run(options: argparse.Namespace) -> int:
    """Compute the results of a chapter at a profile, of one seed or of all.

    Args:
        options: chapter, profile, seed, device, threads, verify.

    Returns:
        0, or what `verify` returns where that is asked for.
    """
    if options.verify:
        return verify(options)
    chapter, profile = _prepare(options, options.profile)
    seeds = range(profile.n_seeds) if options.seed is None else [options.seed]
    jobs.announce(results.missing(r for seed in seeds for r in chapter.run(profile, seed)))
    for seed in seeds:
        for result in chapter.run(profile, seed):
            print(f"{result.name}: {result.provenance['wall_seconds']} s", flush=True)
    return 0


def verify(options: argparse.Namespace) -> int:
    """Recompute a sample of what a chapter has published; clears its badge if all checks hold.

    Args:
        options: chapter, device, threads.

    Returns:
        0 if all checks hold, else 1.

    Raises:
        UsageError: nothing is published whole.
    """
    chapter, _ = _prepare(options, "smoke")
    published = jobs.published(jobs.over_seeds(chapter.run, 0))
    if published is None:
        raise UsageError("nothing to verify: no profile is published whole")
    chapter, profile = _prepare(options, published.name)
    checks = chapter.verify(profile)
    for check in checks:
        print(
            f"{'ok  ' if check['ok'] else 'FAIL'} {check['what']}: published "
            f"{check['published']:.4f}, now {check['recomputed']:.4f}, four standard errors "
            f"{4 * check['standard_error']:.4f}"
        )
    if not all(check["ok"] for check in checks):
        return 1
    results.mark_verified(chapter.context(profile), checks)
    return 0


def _prepare(options: argparse.Namespace, profile_name: str) -> tuple[Any, profiles.Profile]:
    """A chapter's module and the profile, with its threads set."""
    name = options.chapter if options.chapter in CHAPTERS else options.chapter.split("_", 1)[1]
    profile = profiles.get(profile_name, options.device)
    if threads := options.threads or profile.threads:
        torch.set_num_threads(threads)
    return importlib.import_module(f"dgm_book.chapters.{name}.page"), profile
