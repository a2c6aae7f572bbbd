"""The one training loop: progress, history, measurements, and a resume that is exact to the bit."""

import copy
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from dgm import checkpoint as checkpoints
from dgm.progress import progress_bar

__all__ = ["History", "TrainingState", "fit"]


@dataclass
class TrainingState:
    """All that changes while a model is trained; `fit` sets what comes after the generator."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    # Of all noise: draws from torch's global generator are not repeated by a resumed run.
    generator: torch.Generator
    steps: int = 0  # done
    seconds: float = 0.0  # of training, to the last save: processor time on a CPU, or wall time
    terms: dict[str, float] = field(default_factory=dict)  # means over the last measured window
    measurements: list[dict[str, Any]] = field(default_factory=list)  # each row with its "step"


class History(NamedTuple):
    """The mean of each term over windows of steps, and what was measured."""

    steps: Tensor  # (S,) int64, done at the end of each window; the last may be shorter
    terms: dict[str, Tensor]  # of each term its (S,) window means, float64 on the CPU
    measurements: Sequence[dict[str, Any]] = ()  # rows: "step" and what `measure` returned


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
    measure: Callable[[TrainingState], Mapping[str, Any]] | None = None,
    measure_every: int | Iterable[int] | None = None,
    keep_best: str | None = None,
    best: Literal["lowest", "highest"] = "lowest",
) -> History:
    """Trains until `steps` steps are done in all, those of an earlier, interrupted run included.

    Killed at any moment and started again with the same arguments and a state built in the same
    way, it ends with the same weights, history and measurements, bit for bit, on the same device.

    `step` does one optimisation step on a batch, in place, and returns its named terms (0-d
    tensors, the same names at each step). `batches` is a pure function of i, from 0 on. The
    `checkpoint` is resumed from when it exists, and written every `checkpoint_seconds`, after each
    measurement and at the end. History has means over windows of `history_every` steps, for which
    the device is waited for.

    `measure` makes of the state named values (tensors, or what JSON can hold), after every so many
    steps, `measure_every`, and the last; or after these numbers of steps, 0 being before the first.
    However training ends, the model then has the weights of its best measurement so far, by the
    lowest or highest `keep_best`, the earliest of equals.

    ValueError for numbers of steps out of range, terms that are not 0-d tensors or change their
    names, a `keep_best` that is not measured, or a checkpoint that is damaged or of another run;
    FloatingPointError, which names the term and the step, counted from 0, where one is not finite.
    """
    if steps < 0 or history_every < 1 or checkpoint_seconds < 0:
        want = "want steps >= 0, history_every >= 1, checkpoint_seconds >= 0"
        raise ValueError(f"{steps=}, {history_every=}, {checkpoint_seconds=}: {want}")
    if measure is None and (measure_every, keep_best) != (None, None):
        raise ValueError("measure_every and keep_best want a measure too")
    if best not in ("lowest", "highest"):
        raise ValueError(f"best={best!r}: want 'lowest' or 'highest'")
    due = _measured_steps(measure_every, steps) if measure else []
    run = _Run(state, checkpoint, history_every, keep_best, best)
    run.resume(steps, due)
    shown = {"desc": description, "disable": not progress, "mininterval": 0.5, "unit": "step"}
    try:
        with progress_bar(total=steps, initial=state.steps, **shown) as bar:
            if measure and 0 in due and not state.measurements:
                run.measure(measure)
            while state.steps < steps:
                run.add(step(state, batches(state.steps)))
                state.steps += 1
                bar.update()
                if state.steps % history_every == 0:
                    bar.set_postfix(run.close_window(), refresh=False)
                if measure and state.steps in due:
                    run.measure(measure)
                elif time.monotonic() - run.saved_at >= checkpoint_seconds:
                    run.save()
        if run.saved_steps < state.steps:
            run.save()
        return run.history()
    finally:
        if run.best_weights is not None:
            state.model.load_state_dict(run.best_weights)


def _measured_steps(every: int | Iterable[int] | None, steps: int) -> list[int]:
    """After which numbers of steps to measure."""
    if every is None or isinstance(every, int):
        every = max(steps, 1) if every is None else every
        if every < 1:
            raise ValueError(f"measure_every={every}: want 1 or more")
        return [*range(every, steps, every), steps]
    due = sorted(set(every))
    if due and not 0 <= due[0] <= due[-1] <= steps:
        raise ValueError(f"measure_every={due}: want numbers of steps from 0 to {steps}")
    return due


class _Run:
    """A training run: its history (means of closed windows), best weights and checkpoints."""

    def __init__(
        self, state: TrainingState, path: Any, window: int, keep_best: str | None, best: str
    ) -> None:
        self.state, self.path, self.window, self.keep_best = state, path, window, keep_best
        self.sign = -1 if best == "highest" else 1
        self.best_weights: dict[str, Any] | None = None
        self.names: list[str] = []
        self.means: list[Tensor] = []
        self.rows: list[Tensor] = []  # of the open window, on their device
        tensors = {k: v for k, v in state.model.state_dict().items() if isinstance(v, Tensor)}
        self.identity = checkpoints.identity(
            model={name: [str(v.dtype), list(v.shape)] for name, v in tensors.items()},
            optimizer=type(state.optimizer),
            settings=state.optimizer.state_dict()["param_groups"],
            seed=state.generator.initial_seed(),
            history_every=window,
            best=[keep_best, best] if keep_best else None,
        )
        state.steps, state.seconds, state.terms, state.measurements = 0, 0.0, {}, []
        self.saved_at, self.saved_steps, self.started = time.monotonic(), 0, self.clock()

    def clock(self) -> float:
        device = self.state.generator.device
        if device.type == "cpu":
            return time.process_time()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def note_seconds(self) -> None:
        now = self.clock()
        self.state.seconds += now - self.started
        self.started = now

    def add(self, terms: Mapping[str, Tensor]) -> None:
        for name, term in terms.items():
            if not isinstance(term, Tensor) or term.ndim:
                shape = tuple(term.shape) if isinstance(term, Tensor) else type(term).__name__
                raise ValueError(f"step returned '{name}' as {shape}, not as a 0-d tensor")
        self.names = self.names or list(terms)
        if set(terms) != set(self.names) or not terms:
            want = f"want the same at each step, at least one; the first returned {self.names}"
            raise ValueError(f"step returned the terms {list(terms)}; {want}")
        self.rows.append(torch.stack([terms[name].detach() for name in self.names]).double())

    def open_window(self) -> Tensor:
        """(rows, terms) of the open window; FloatingPointError where one is not finite."""
        if not self.rows:
            return torch.zeros(0, len(self.names), dtype=torch.float64)
        # Rows from a checkpoint are on the CPU.
        window = torch.stack([row.to(self.rows[-1].device) for row in self.rows])
        for row, column in (~torch.isfinite(window)).nonzero().tolist():
            value, step = window[row, column].item(), len(self.means) * self.window + row
            where = f"at step {step} (counted from 0)"
            raise FloatingPointError(f"the term '{self.names[column]}' is {value} {where}")
        return window

    def window_means(self) -> list[Tensor]:
        """Those of the closed windows, and of the open one where it has a row."""
        window = self.open_window()
        return [*self.means, *([window.mean(0).cpu()] if len(window) else [])]

    def close_window(self) -> dict[str, float]:
        self.means, self.rows = self.window_means(), []
        return dict(zip(self.names, self.means[-1].tolist(), strict=True))

    def history(self) -> History:
        means = self.window_means()
        table = torch.stack(means) if means else torch.zeros(0, len(self.names)).double()
        ends = [min((i + 1) * self.window, self.state.steps) for i in range(len(means))]
        terms = {name: table[:, i].clone() for i, name in enumerate(self.names)}
        return History(torch.tensor(ends, dtype=torch.int64), terms, self.state.measurements)

    def measure(self, measure: Callable[[TrainingState], Mapping[str, Any]]) -> None:
        state = self.state
        self.note_seconds()
        for means in self.window_means()[-1:]:
            state.terms = dict(zip(self.names, means.tolist(), strict=True))
        row = {"step": state.steps, **measure(state)}
        if self.keep_best is not None:
            if self.keep_best not in row:
                raise ValueError(f"keep_best={self.keep_best!r}: measured were {', '.join(row)}")
            value, *others = (self.sign * r[self.keep_best] for r in [row, *state.measurements])
            if all(value < other for other in others):
                self.best_weights = copy.deepcopy(state.model.state_dict())
        state.measurements.append(row)
        self.started = self.clock()
        self.save()

    def save(self) -> None:
        """Writes the checkpoint, where one is wanted; raises FloatingPointError first."""
        if self.path is None:
            return
        window, state = self.open_window(), self.state
        self.note_seconds()
        history = {"names": self.names, "means": self.means, "window": window}
        tree = {"run": self.identity, "model": state.model.state_dict()}
        tree |= {"optimizer": state.optimizer.state_dict()}
        tree |= {"generator": state.generator.get_state(), "history": history}
        tree |= {"best": self.best_weights, "step": state.steps, "seconds": state.seconds}
        tree |= {"terms": state.terms, "measurements": state.measurements}
        checkpoints.save(self.path, tree)
        self.saved_at, self.saved_steps = time.monotonic(), state.steps

    def resume(self, steps: int, due: list[int]) -> None:
        """Puts the checkpoint, where there is one, into the state and this run."""
        path, state = self.path, self.state
        if path is None or not Path(path).exists():
            return
        saved = checkpoints.load(path)
        if not (isinstance(saved, dict) and {"run", "step", "measurements"} <= set(saved)):
            raise ValueError(f"{path} is no checkpoint of fit; name another file or delete it")
        # The generators' states of a CPU and of a GPU differ in size.
        if saved["generator"].shape != state.generator.get_state().shape:
            other = f"{path} was written on another kind of device than {state.generator.device}"
            raise ValueError(f"{other}: go on there, name another file, or delete it to start anew")
        # A step may change the learning rate: the same optimiser object belongs to the same run.
        current = checkpoints.identity(settings=saved["optimizer"]["param_groups"])
        if self.identity["settings"] == current["settings"]:
            self.identity["settings"] = saved["run"]["settings"]
        measured = [row["step"] for row in saved["measurements"]]
        expected = self.identity | {"measured at": [n for n in due if n <= saved["step"]]}
        checkpoints.check_identity(path, saved["run"] | {"measured at": measured}, expected)
        if saved["step"] > steps:
            done = f"{path} has {saved['step']} steps done, but steps={steps} were asked for"
            raise ValueError(f"{done}; ask for at least as many, or delete it to start anew")
        state.model.load_state_dict(saved["model"])
        state.optimizer.load_state_dict(saved["optimizer"])
        # Moments get their parameters' strides: fused steps pair values by their place in memory.
        for parameter, moments in state.optimizer.state.items():
            for key, value in moments.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    moments[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.generator.set_state(saved["generator"])
        state.steps = self.saved_steps = saved["step"]
        state.seconds, state.terms = saved["seconds"], saved["terms"]
        state.measurements, self.best_weights = saved["measurements"], saved["best"]
        self.names, self.means, self.rows = saved["history"].values()
        self.rows, self.started = list(self.rows), self.clock()
