"""Three chapters of small results in place of the book's; as a script, `python -m dgm_book`.

DGM_TRACE names a file to which each computed result is added; where DGM_BREAK is set, the second
result of `broken` is an error.
"""

import os
import sys
import types
from pathlib import Path

from dgm_book import chapters, results

CHAPTERS = {"dear": "01_dear", "broken": "02_broken", "cheap": "03_cheap"}


def run(chapter, profile, seed, first_seed=0):
    """Every result of one seed."""
    context = results.Context("dgm.vae", CHAPTERS[chapter], profile, ())

    def compute(name):
        if chapter == "broken" and name == "b" and os.environ.get("DGM_BREAK"):
            raise ArithmeticError("broken on purpose")
        with Path(os.environ["DGM_TRACE"]).open("a") as file:
            file.write(f"{chapter} {name} {os.environ['OMP_NUM_THREADS']}\n")
        return {}, {}

    for name in "ab":
        yield results.get(name, lambda name=name: compute(name), context, seed=seed)


def modules():
    """The chapters' modules by name."""
    new = {}
    for chapter in CHAPTERS:
        module = types.ModuleType(f"dgm_book.chapters.{chapter}.run")
        module.run = lambda *rest, chapter=chapter: run(chapter, *rest)
        new |= {f"dgm_book.chapters.{chapter}": types.ModuleType(chapter), module.__name__: module}
    return new


if __name__ == "__main__":
    from dgm_book import __main__

    sys.modules |= modules()
    chapters.CHAPTERS = CHAPTERS
    sys.exit(__main__.main())
