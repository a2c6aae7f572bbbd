"""The one training loop: progress, history, and a resume that is exact to the bit."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgm import checkpoint as checkpoints
from dgm.progress import progress_bar

__all__ = ["History", "TrainingState", "fit"]


@dataclass
class TrainingState:
    """All that changes while a model is trained.

    Attributes:
        model: The model, with all its parameters and buffers.
        optimizer: Its optimiser.
        generator: Where all the noise of training comes from. Draws from torch's global generator
            (as `nn.Dropout` makes them) are not repeated when a run is resumed.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator


class History(NamedTuple):
    """The mean of each term over windows of steps.

    Attributes:
        steps: (S,) int64, the number of steps done at the end of each window; the last window is
            shorter when the number of steps is no multiple of the window.
        terms: For each term its (S,) window means, float64 on the CPU.
    """

    steps: Tensor
    terms: dict[str, Tensor]


def fit(
    step: Callable[[TrainingState, Any], Mapping[str, Tensor]],
    batches: Callable[[int], Any],
    state: TrainingState,
    steps: int,
    *,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float = 30.0,
    description: str = "",
    progress: bool = True,
    history_every: int = 100,
) -> History:
    """Trains until `steps` steps are done in all, those of an earlier, interrupted run included.

    Killed at any moment and started again with the same arguments and a state built in the same
    way, it ends with the same weights and history, bit for bit, on the same device.

    Args:
        step: Does one optimisation step on a batch, in place, and returns its named terms (0-d
            tensors, all on one device, the same names at each step).
        batches: i -> the batch of step i, from 0 on. A pure function of i.
        state: Changed in place. The model's train or eval mode is left alone.
        steps: Number of steps in all.
        checkpoint: File to resume from when it exists, and to write to every `checkpoint_seconds`
            and at the end; None keeps nothing.
        checkpoint_seconds: Seconds between checkpoints; 0 writes one after each step.
        description: Text before the progress bar.
        progress: Whether to show a bar with the time left and the latest terms.
        history_every: Steps in a window of the history. Terms stay on their device meanwhile: the
            loop waits for the device once a window and once a checkpoint.

    Returns:
        The history of the whole run.

    Raises:
        ValueError: For steps below 0, a window below 1, terms that are not 0-d tensors or change
            their names, or a checkpoint that is damaged or belongs to another run (other shapes,
            optimiser settings, seed, kind of device, window, or more steps done than asked for).
        FloatingPointError: When a term is not finite; names the term and the step, counted from 0.
            Found at the end of its window, and never written to a checkpoint.
    """
    if steps < 0 or history_every < 1 or checkpoint_seconds < 0:
        raise ValueError(
            f"steps={steps}, history_every={history_every}, checkpoint_seconds={checkpoint_seconds}"
            ": want steps >= 0, history_every >= 1, checkpoint_seconds >= 0"
        )
    run = _run(state, history_every)
    recorder = _Recorder(history_every)
    done = 0
    if checkpoint is not None and Path(checkpoint).exists():
        done = _resume(checkpoint, state, recorder, run, steps)

    def keep() -> None:
        recorder.check()
        saved = {
            "run": run,
            "step": done,
            "model": state.model.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "generator": state.generator.get_state(),
            "history": recorder.state(),
        }
        checkpoints.save(checkpoint, saved)

    saved_at, saved_step = time.monotonic(), done
    bar = progress_bar(
        total=steps,
        initial=done,
        desc=description,
        disable=not progress,
        mininterval=0.5,
        unit="step",
    )
    with bar:
        while done < steps:
            recorder.add(step(state, batches(done)))
            done += 1
            bar.update()
            if done % history_every == 0:
                bar.set_postfix(recorder.close_window(), refresh=False)
            if checkpoint is not None and time.monotonic() - saved_at >= checkpoint_seconds:
                keep()
                saved_at, saved_step = time.monotonic(), done
    if checkpoint is not None and saved_step < done:
        keep()
    return recorder.history()


def _run(state: TrainingState, history_every: int) -> dict:
    """What must be equal for a checkpoint to belong to this run."""
    return {
        "model": {
            name: [str(value.dtype), list(value.shape)]
            for name, value in state.model.state_dict().items()
            if isinstance(value, Tensor)
        },
        "optimizer": type(state.optimizer).__name__,
        "settings": _plain(state.optimizer.state_dict()["param_groups"]),
        "seed": state.generator.initial_seed(),
        "history_every": history_every,
    }


def _plain(node: Any) -> Any:
    """The same tree with tensors as lists, so that two can be compared with ==."""
    if isinstance(node, Tensor):
        return node.tolist()
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_plain(value) for value in node]
    return node


def _resume(
    path: str | os.PathLike, state: TrainingState, recorder: "_Recorder", run: dict, steps: int
) -> int:
    """Puts a checkpoint into the state and the recorder; returns the number of steps done."""
    saved = checkpoints.load(path)
    if not (isinstance(saved, dict) and {"run", "step", "history", "generator"} <= set(saved)):
        raise ValueError(f"{path} is no checkpoint of fit; name another file or delete it")
    # The generators' states of a CPU and of a GPU differ in size.
    if saved["generator"].shape != state.generator.get_state().shape:
        raise ValueError(
            f"{path} was written on another kind of device than {state.generator.device.type}, where the "
            "noise is another: go on there, name another file, or delete it to start anew"
        )
    theirs = dict(saved["run"])
    # A step may change the learning rate: continuing with the same optimiser object is no new run.
    if run["settings"] == _plain(saved["optimizer"]["param_groups"]):
        theirs["settings"] = run["settings"]
    for what, mine in run.items():
        if theirs.get(what) != mine:
            difference = _difference(theirs.get(what), mine)
            raise ValueError(
                f"{path} belongs to another run: its {what} is {difference}; name another file, or "
                "delete it to start anew"
            )
    if saved["step"] > steps:
        raise ValueError(
            f"{path} has {saved['step']} steps done, but steps={steps} were asked for; ask for at "
            "least as many, or delete it to start anew"
        )
    run.update(saved["run"])
    state.model.load_state_dict(saved["model"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.generator.set_state(saved["generator"])
    recorder.load_state(saved["history"])
    return saved["step"]


def _difference(theirs: Any, mine: Any) -> str:
    """The part in which two trees differ, in words."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for key in [*mine, *theirs]:
            if theirs.get(key) != mine.get(key):
                return f"{key}: {_difference(theirs.get(key), mine.get(key))}"
    if isinstance(theirs, list) and isinstance(mine, list) and len(theirs) == len(mine) == 1:
        return _difference(theirs[0], mine[0])
    return f"{theirs}, here it is {mine}"


class _Recorder:
    """Keeps the terms of the open window on their device, and the means of the closed ones."""

    def __init__(self, every: int):
        self.every = every
        self.names: list[str] | None = None
        self.means: list[Tensor] = []
        self.window: Tensor | None = None
        self.filled = 0

    def add(self, terms: Mapping[str, Tensor]) -> None:
        for name, term in terms.items():
            if not isinstance(term, Tensor) or term.ndim:
                shape = tuple(term.shape) if isinstance(term, Tensor) else type(term).__name__
                raise ValueError(f"step returned '{name}' as {shape}, not as a 0-d tensor")
        if self.names is None:
            self.names = list(terms)
        if set(terms) != set(self.names) or not terms:
            raise ValueError(
                f"step returned the terms {list(terms)}; want the same at each step, at least one, "
                f"and the first step returned {self.names}"
            )
        row = torch.stack([terms[name].detach() for name in self.names])
        if self.window is None or self.window.device != row.device:
            window = torch.zeros(self.every, len(row), dtype=torch.float64, device=row.device)
            if self.window is not None:  # from a checkpoint
                window.copy_(self.window)
            self.window = window
        self.window[self.filled] = row
        self.filled += 1

    def check(self) -> None:
        """Raises FloatingPointError for the first term of the open window that is not finite."""
        if not self.filled:
            return
        bad = (~torch.isfinite(self.window[: self.filled])).nonzero().tolist()
        if bad:
            row, column = bad[0]
            raise FloatingPointError(
                f"the term '{self.names[column]}' is {self.window[row, column].item()} at step "
                f"{len(self.means) * self.every + row} (counted from 0)"
            )

    def close_window(self) -> dict[str, float]:
        self.check()
        self.means.append(self.window[: self.filled].mean(0).cpu())
        self.filled = 0
        return dict(zip(self.names, self.means[-1].tolist(), strict=True))

    def history(self) -> History:
        self.check()
        steps = [(i + 1) * self.every for i in range(len(self.means))]
        means = list(self.means)
        if self.filled:
            steps.append(len(means) * self.every + self.filled)
            means.append(self.window[: self.filled].mean(0).cpu())
        names = self.names or []
        table = torch.stack(means) if means else torch.zeros(0, len(names), dtype=torch.float64)
        terms = {name: table[:, i].clone() for i, name in enumerate(names)}
        return History(torch.tensor(steps, dtype=torch.int64), terms)

    def state(self) -> dict:
        window = None if self.window is None else self.window[: self.filled]
        return {"names": self.names, "means": self.means, "window": window}

    def load_state(self, saved: dict) -> None:
        self.names, self.means = saved["names"], saved["means"]
        if saved["window"] is not None:
            self.filled = len(saved["window"])
            self.window = torch.zeros(self.every, len(self.names), dtype=torch.float64)
            self.window[: self.filled] = saved["window"]
