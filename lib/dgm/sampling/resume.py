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
from dgm.sampling.schedules import StepSizes


def fingerprint(settings: tuple, tensors: Iterable[Tensor], target: DecoderTarget) -> dict:
    """What a run depends on, so that an interrupted one is not resumed as another.

    What the decoder, the prior and the distortion compute is known by their values at fixed codes.
    """
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
        hashed.update(value.view(-1).view(torch.uint8).numpy())
    return hashed.hexdigest()


def same_probe(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two probes are equal but for the rounding of unlike machines."""
    if ours.shape != theirs.shape:
        return False
    size = ours.nan_to_num(0, 0, 0).abs().amax(-1, keepdim=True)  # images may have any scale
    close = torch.isclose(ours / size, theirs / size, rtol=1e-4, atol=1e-6, equal_nan=True)
    return bool(close.all())


def save_progress(
    path: Path,
    identity: dict,
    state: AnnealingState,
    table: StepSizes,
    records: list[list[Tensor]],
    generator: Randomness,
) -> None:
    """Write all that a run needs to go on, whole or not at all."""
    tree = {
        "identity": identity,
        "chain": state.chain._asdict(),
        "log_weight": state.log_weight,
        "acceptance_sum": state.acceptance_sum,
        "step_sizes": table._asdict(),
        "records": records,
        "generators": [g.get_state() for g in _each(generator)],
    }
    checkpoints.save(path, tree)


def resume(
    path: Path, identity: dict, generator: Randomness, device: torch.device, betas: Tensor
) -> tuple[AnnealingState, StepSizes, list[list[Tensor]]]:
    """Read what `save_progress` wrote and set the generators; a ValueError refuses another run."""
    saved = checkpoints.load(path, device=device)
    theirs = saved["identity"]
    if (
        not isinstance(theirs, dict)
        or theirs["settings"] != identity["settings"]
        or not same_probe(theirs["probe"].cpu(), identity["probe"])
    ):
        raise ValueError(
            f"{path} holds an interrupted run with other settings, images, weights or seed, or "
            "another prior or distortion: give another file name, or remove it to begin anew"
        )
    ours, states = _each(generator), [state.cpu() for state in saved["generators"]]
    if [state.shape for state in states] != [g.get_state().shape for g in ours]:
        raise ValueError(
            f"{path} holds a run interrupted on another kind of device than {device.type}: go on "
            "there, give another file name, or remove it to begin anew"
        )
    for own, state in zip(ours, states, strict=True):
        own.set_state(state)
    weights = saved["log_weight"], saved["acceptance_sum"]
    beta = float(betas[len(saved["records"]) - 1])
    state = AnnealingState(HMCState(**saved["chain"]), *weights, torch.zeros_like(weights[1]), beta)
    return state, StepSizes(**saved["step_sizes"]).to("cpu"), saved["records"]


def _each(generator: Randomness) -> Sequence[torch.Generator]:
    return [generator] if isinstance(generator, torch.Generator) else generator
