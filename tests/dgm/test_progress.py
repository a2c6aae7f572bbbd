"""A bar moves on a terminal and in a notebook; a log file gets a line now and then."""

import io
import time

import pytest

from dgm import progress


class Stream(io.StringIO):
    """Standard error of some kind."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


class NotebookStream(Stream):
    __module__ = "ipykernel.iostream"


def written(monkeypatch, stream, seconds, n=40):
    monkeypatch.setattr(progress, "LOG_SECONDS", seconds)
    monkeypatch.setattr("sys.stderr", stream)
    for _ in progress.progress_bar(range(n), unit="step", mininterval=0.01):
        time.sleep(0.01)
    return stream.getvalue()


def test_a_log_has_a_line_every_so_many_seconds(monkeypatch):
    lines = written(monkeypatch, Stream(False), 0.1).splitlines()
    assert 3 <= len([line for line in lines if "/40 [" in line]) <= 7
    assert "40/40 [" in "".join(lines[-2:])
    assert written(monkeypatch, Stream(False), 30).count("/40 [") == 2


@pytest.mark.parametrize("stream", [Stream(True), NotebookStream(False)])
def test_a_terminal_and_a_notebook_have_a_bar_that_moves(monkeypatch, stream):
    assert written(monkeypatch, stream, 30).count("/40 [") > 10
