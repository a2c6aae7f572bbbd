"""Interrupted annealing runs: saved at a recorded beta, and carried on bit for bit."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgm import checkpoint as checkpoints
from dgm.sampling.annealing import AnnealingState
from dgm.sampling.decoder_target import DecoderTarget
from dgm.sampling.hmc import HMCState, Randomness
from dgm.sampling.pilot import StepSizes


def fingerprint(settings: tuple, tensors: Sequence[Tensor], problem: DecoderTarget) -> dict:
    """What a run depends on, so that an interrupted one is not resumed as another.

    What the decoder, the prior and the distortion compute is known by their values at fixed codes.
    """
    everything = [problem.x, *tensors, *problem.decoder.state_dict().values()]
    names = [plain(given) for given in (problem.space.prior, problem.distortion)]
    text = f"{settings} {names} {problem.shape} {digest(everything)}"
    return {"settings": hashlib.sha256(text.encode()).hexdigest(), "probe": problem.probe()}


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
        hashed.update(value.view(-1).view(torch.uint8).numpy())
    return hashed.hexdigest()


def same_probe(one: Tensor, other: Tensor) -> bool:
    """Whether two probes are equal but for the rounding of unlike machines."""
    if one.shape != other.shape:
        return False
    size = one.nan_to_num(0, 0, 0).abs().amax(-1, keepdim=True)  # images may have any scale
    return bool(torch.isclose(one / size, other / size, rtol=1e-4, atol=1e-6, equal_nan=True).all())


def save_progress(
    path: str | Path,
    identity: dict,
    state: AnnealingState,
    table: StepSizes,
    records: list[list[Tensor]],
    run: Randomness,
) -> None:
    """Write all that a run needs to go on, whole or not at all."""
    checkpoints.save(
        path,
        {
            "identity": identity,
            "chain": state.chain._asdict(),
            "log_weight": state.log_weight,
            "acceptance_sum": state.acceptance_sum,
            "step_sizes": table._asdict(),
            "records": records,
            "generators": [g.get_state() for g in _each(run)],
        },
    )


def resume(
    path: str | Path, identity: dict, run: Randomness, device: torch.device
) -> tuple[AnnealingState, StepSizes, list[list[Tensor]]]:
    """Read what `save_progress` wrote, and set the generators.

    Raises:
        ValueError: it belongs to another run, or to another kind of device.
    """
    saved = checkpoints.load(path, device=device)
    theirs = saved["identity"]
    if (
        not isinstance(theirs, dict)
        or theirs["settings"] != identity["settings"]
        or not same_probe(theirs["probe"].cpu(), identity["probe"])
    ):
        raise ValueError(
            f"{path} holds an interrupted run with other settings, images, weights or seed, or another "
            "prior or distortion: give another file name, or remove it to begin anew"
        )
    states = [state.shape for state in saved["generators"]]
    if states != [generator.get_state().shape for generator in _each(run)]:
        raise ValueError(
            f"{path} holds a run interrupted on another kind of device than {device.type}: go on there, "
            "give another file name, or remove it to begin anew"
        )
    for generator, kept in zip(_each(run), saved["generators"], strict=True):
        generator.set_state(kept.cpu())
    state = AnnealingState(HMCState(**saved["chain"]), saved["log_weight"], saved["acceptance_sum"])
    table = StepSizes(**saved["step_sizes"]).to("cpu")
    return state, table, saved["records"]


def _each(run: Randomness) -> Sequence[torch.Generator]:
    return [run] if isinstance(run, torch.Generator) else run
