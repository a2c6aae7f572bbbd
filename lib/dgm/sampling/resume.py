"""Interrupted annealing runs: saved at a recorded beta, and carried on bit for bit."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dgm import checkpoint as checkpoints
from dgm.sampling.annealing import AnnealingState
from dgm.sampling.decoder_target import DecoderTarget
from dgm.sampling.hmc import HMCState, Randomness
from dgm.sampling.pilot import StepSizes


def fingerprint(settings: tuple, recorded: Tensor, problem: DecoderTarget) -> str:
    """What a run depends on, so that an interrupted one is not resumed as another."""
    digest = hashlib.sha256(repr(settings).encode())
    tensors = [recorded, problem.x, *problem.decoder.state_dict().values()]
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_progress(
    path: str | Path,
    identity: str,
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
    path: str | Path, identity: str, run: Randomness, device: torch.device
) -> tuple[AnnealingState, StepSizes, list[list[Tensor]]]:
    """Read what `save_progress` wrote, and set the generators.

    Raises:
        ValueError: it belongs to another run, or to another kind of device.
    """
    saved = checkpoints.load(path, device=device)
    if saved["identity"] != identity:
        raise ValueError(
            f"{path} holds an interrupted run with other settings, images, weights or seed: "
            "give another file name, or remove it to begin anew"
        )
    states = [kept.shape for kept in saved["generators"]]
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
