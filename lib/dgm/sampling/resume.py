"""Interrupted annealing runs: saved at a recorded beta, and carried on bit for bit."""

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgm import checkpoint as checkpoints
from dgm.sampling.annealing import AnnealingState
from dgm.sampling.decoder_target import DecoderTarget
from dgm.sampling.hmc import HMCState, Randomness
from dgm.sampling.schedules import StepSizes

CHECKPOINT_SECONDS = 20.0


def fingerprint(
    settings: tuple, tensors: Iterable[Tensor | None], target: DecoderTarget
) -> dict[str, Any]:
    """What a run depends on; of decoder, prior and distortion by their values at fixed codes."""
    everything = [target.x, *tensors, *target.decoder.state_dict().values()]
    names = [plain(given) for given in (target.space.prior, target.distortion)]
    text = f"{settings} {names} {target.shape} {digest(everything)}"
    return {"settings": hashlib.sha256(text.encode()).hexdigest(), "probe": target.probe()}


def plain(value: Any) -> Any:
    """A setting as something that can be written down and compared; of an object only the name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor | np.ndarray | np.generic | list | tuple):
        return torch.as_tensor(value, device="cpu").tolist()
    return getattr(value, "__qualname__", type(value).__qualname__)


def digest(values: Iterable[Any]) -> str:
    """A hash of tensors of any dtype, byte for byte; of anything else by what it prints."""
    hashed = hashlib.sha256()
    for value in values:
        if not isinstance(value, Tensor):
            hashed.update(repr(value).encode())
            continue
        value = value.detach().cpu().contiguous()
        hashed.update(f"{value.dtype} {list(value.shape)}".encode())
        hashed.update(value.view(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def same_probe(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two probes are equal but for the rounding of unlike machines."""
    if ours.shape != theirs.shape:
        return False
    size = ours.nan_to_num(0, 0, 0).abs().amax(-1, keepdim=True)  # images may have any scale
    close = torch.isclose(ours / size, theirs / size, rtol=1e-4, atol=1e-6, equal_nan=True)
    return bool(close.all())


class ProgressFile:
    """What an interrupted run needs to go on, written whole or not at all; without a path, nothing.

    Args:
        path: of the file, or None.
        target: as the next two, something that the run depends on.
        settings: that can be printed.
        tensors: of any dtype.
        generator: of the run; its state is saved as well.
    """

    def __init__(
        self,
        path: str | Path | None,
        target: DecoderTarget,
        settings: tuple,
        tensors: Iterable[Tensor | None],
        generator: Randomness,
    ) -> None:
        self.path = None if path is None else Path(path).expanduser()
        self.generators = [generator] if isinstance(generator, torch.Generator) else generator
        self.identity = {} if path is None else fingerprint(settings, tensors, target)
        self.device, self.saved = target.x.device, time.monotonic()

    def save(self, state: AnnealingState, table: StepSizes, records: list[list[Tensor]]) -> None:
        """Write all, if the last time is `CHECKPOINT_SECONDS` ago."""
        if self.path is None or time.monotonic() - self.saved <= CHECKPOINT_SECONDS:
            return
        tree = {
            "identity": self.identity,
            "chain": state.chain._asdict(),
            "log_weight": state.log_weight,
            "acceptance_sum": state.acceptance_sum,
            "step_sizes": table._asdict(),
            "records": records,
            "generators": [g.get_state() for g in self.generators],
        }
        checkpoints.save(self.path, tree)
        self.saved = time.monotonic()

    def load(self, betas: Tensor) -> tuple[AnnealingState, StepSizes, list[list[Tensor]]] | None:
        """Read what `save` wrote at one of the betas (R,), if it did, and set the generators.

        Raises:
            ValueError: it belongs to another run, or to another kind of device.
        """
        if self.path is None or not self.path.exists():
            return None
        saved = checkpoints.load(self.path, device=self.device)
        theirs, ours = saved["identity"], self.identity
        known = isinstance(theirs, dict) and theirs["settings"] == ours["settings"]
        if not known or not same_probe(theirs["probe"].cpu(), ours["probe"]):
            raise ValueError(
                f"{self.path} holds an interrupted run with other settings, images, weights or "
                "seed, or another prior or distortion: give another file name, or remove it to "
                "begin anew"
            )
        states = [state.cpu() for state in saved["generators"]]
        if [state.shape for state in states] != [g.get_state().shape for g in self.generators]:
            raise ValueError(
                f"{self.path} holds a run interrupted on another kind of device than "
                f"{self.device.type}: go on there, give another file name, or remove it to begin "
                "anew"
            )
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)
        chain, total, records = (
            HMCState(**saved["chain"]),
            saved["acceptance_sum"],
            saved["records"],
        )
        beta = float(betas[len(records) - 1])
        state = AnnealingState(chain, saved["log_weight"], total, torch.zeros_like(total), beta)
        return state, StepSizes(**saved["step_sizes"]).to("cpu"), records

    def remove(self) -> None:
        """The run is finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
