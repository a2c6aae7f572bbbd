"""The workshop's commands.

python -m dgm_book run rate_distortion --profile small --seed 0    train and measure, or go on
python -m dgm_book queue --profile small --processes 2    run what is missing of all chapters
python -m dgm_book verify rate_distortion    recompute a sample of the published numbers
python -m dgm_book build    execute the chapters and build the pages
python -m dgm_book score FOLDER --scorer NAME    mark rewrites blind, see dgm_book/hand_score.py
"""

import argparse
import importlib
import signal
import sys
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["build"]:
        from dgm_book import build

        # As Ctrl-C does: the kernels end with the command.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return build.main(arguments[1:])
    options = _parser().parse_args(arguments)
    if options.command == "score":
        from dgm_book import hand_score

        return hand_score.main(options.folder, options.scorer)
    if options.command == "queue":
        from dgm_book import queue

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # its runs end with it
        return queue.main(options.profile, options.device, options.processes, options.list)
    return _verify(options) if options.command == "verify" or options.verify else _run(options)


def _parser() -> argparse.ArgumentParser:
    from dgm_book.chapters import CHAPTERS  # here, since it brings PyTorch
    from dgm_book.profiles import NAMES

    options = {"description": __doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("python -m dgm_book", **options)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="execute the chapters and build the pages", add_help=False)
    score = commands.add_parser("score", help="mark rewrites blind, or show the rates")
    score.add_argument("folder", type=Path, help="of a sitting")
    score.add_argument("--scorer", help="whose marks to ask for; left out, all rates are shown")
    run = commands.add_parser("run", help="train and measure; an interrupted run goes on")
    verify = commands.add_parser("verify", help="recompute a sample of what is published")
    for command in (run, verify):
        add = command.add_argument
        add("chapter", choices=[*CHAPTERS, *CHAPTERS.values()])
        add("--device", help="cpu or cuda; the profile chooses when left out")
        add("--threads", type=int, help="PyTorch threads; one on a CPU when left out")
    queue = commands.add_parser("queue", help="run what is missing of all chapters, cheapest first")
    queue.add_argument("--profile", choices=NAMES, default="small")
    queue.add_argument("--device", help="as of `run`")
    queue.add_argument("--processes", type=int, default=1, help="at a time, one thread each")
    queue.add_argument("--list", action="store_true", help="only show what is missing")
    run.add_argument("--profile", choices=NAMES, default="smoke")
    run.add_argument("--seed", type=int, help="one seed; all of the profile's when left out")
    run.add_argument("--verify", action="store_true", help="the same as `verify`")
    return parser


def _chapter(options: argparse.Namespace, profile_name: str) -> tuple[Any, Any]:
    """A chapter's `run` module and the profile, with its threads set."""
    import torch

    from dgm_book import profiles
    from dgm_book.chapters import CHAPTERS

    name = options.chapter if options.chapter in CHAPTERS else options.chapter.split("_", 1)[1]
    profile = profiles.get(profile_name, options.device)
    if threads := options.threads or profile.threads:
        torch.set_num_threads(threads)
    return importlib.import_module(f"dgm_book.chapters.{name}.run"), profile


def _run(options: argparse.Namespace) -> int:
    """Computes the results of a chapter at a profile, of one seed or of all."""
    from dgm_book import jobs, results

    chapter, profile = _chapter(options, options.profile)
    seeds = range(profile.n_seeds) if options.seed is None else [options.seed]
    jobs.announce(results.missing(r for seed in seeds for r in chapter.run(profile, seed)))
    for result in (r for seed in seeds for r in chapter.run(profile, seed)):
        print(f"{result.name}: {result.provenance['wall_seconds']} s", flush=True)
    return 0


def _verify(options: argparse.Namespace) -> int:
    """Recomputes a sample of what a chapter has published; clears its badge if all checks hold."""
    from dgm_book import jobs, results

    chapter, _ = _chapter(options, "smoke")
    published = jobs.published(jobs.over_seeds(chapter.run, 0))
    if published is None:
        sys.exit("nothing to verify: no profile is published whole")
    _, profile = _chapter(options, published.name)
    checks = chapter.verify(profile)
    for check in checks:
        print(
            f"{'ok  ' if check['ok'] else 'FAIL'} {check['what']}: published "
            f"{check['published']:.4f}, now {check['recomputed']:.4f}, four standard errors "
            f"{4 * check['standard_error']:.4f}"
        )
    if all(check["ok"] for check in checks):
        results.mark_verified(chapter.context(profile), checks)
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
