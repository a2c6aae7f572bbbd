"""The workshop's commands.

python -m dgm_book run rate_distortion --profile small --seed 0    train and measure, or go on
python -m dgm_book verify rate_distortion    recompute a sample of the published numbers
python -m dgm_book build    execute the chapters and build the pages
"""

import argparse
import signal
import sys


def main(arguments: list[str] | None = None) -> int:
    from dgm_book import build

    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["build"]:
        # As Ctrl-C does: the kernels end with the command.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return build.main(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m dgm_book",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="execute the chapters and build the pages", add_help=False)
    for command, purpose in {
        "run": "train and measure; an interrupted run is picked up where it stopped",
        "verify": "recompute a sample of what is published",
    }.items():
        _add_options(commands.add_parser(command, help=purpose), command)
    options = parser.parse_args(arguments)

    from dgm_book import run  # here, since it brings PyTorch

    try:
        return run.run(options) if options.command == "run" else run.verify(options)
    except run.UsageError as error:
        parser.error(str(error))


def _add_options(parser: argparse.ArgumentParser, command: str) -> None:
    from dgm_book.chapters import CHAPTERS
    from dgm_book.profiles import NAMES

    parser.add_argument("chapter", choices=[*CHAPTERS, *CHAPTERS.values()])
    parser.add_argument("--device", help="cpu or cuda; the profile chooses when left out")
    parser.add_argument("--threads", type=int, help="PyTorch threads; one on a CPU when left out")
    if command == "run":
        parser.add_argument("--profile", choices=NAMES, default="smoke")
        parser.add_argument("--seed", type=int, help="one seed; all of the profile's when left out")
        parser.add_argument("--verify", action="store_true", help="the same as `verify`")


if __name__ == "__main__":
    sys.exit(main())
