"""Progress bars that suit a terminal, a notebook and a log file alike."""

import sys
from typing import Any

from tqdm import tqdm

LOG_SECONDS = 30.0  # between two lines of a log


def progress_bar(iterable: Any = None, **options: Any) -> tqdm:
    """tqdm's bar on stderr; in a log file at most a line every `LOG_SECONDS`."""
    stream = sys.stderr
    if not (stream.isatty() or type(stream).__module__.startswith("ipykernel")):
        options |= {
            "mininterval": LOG_SECONDS,
            "maxinterval": LOG_SECONDS,
            "bar_format": "{l_bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]\n",
        }
    return tqdm(iterable, **options)
