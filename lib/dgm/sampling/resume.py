"""Interrupted annealing runs: saved at a recorded beta, and carried on bit for bit."""

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dgm import checkpoint
from dgm.sampling.annealing import AnnealingState
from dgm.sampling.decoder_target import DecoderTarget
from dgm.sampling.hmc import HMCState, Randomness
from dgm.sampling.schedules import StepSizes

CHECKPOINT_SECONDS = 20.0


def check_same_run(path: Path, saved: Mapping, identity: Mapping, probe: Tensor) -> None:
    """Refuses, by a ValueError, what another run has saved; probes may differ by rounding."""
    checkpoint.check_identity(path, saved.get("identity", {}), identity)
    size = probe.nan_to_num(0, 0, 0).abs().amax(-1, keepdim=True)
    ours, theirs = probe / size, saved["probe"].cpu() / size
    if not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6, equal_nan=True):
        other = "the decoder, the prior or the distortion computes something else"
        advice = "name another file, or delete it to start anew"
        raise ValueError(f"{path} belongs to another run: {other}; {advice}")


class ProgressFile:
    """What an interrupted run needs to go on, written whole or not at all; none without a path."""

    def __init__(
        self, path: str | Path | None, target: DecoderTarget, settings: dict, generator: Randomness
    ) -> None:
        self.path = None if path is None else Path(path).expanduser()
        self.generators = [generator] if isinstance(generator, torch.Generator) else generator
        self.device, self.saved = target.x.device, time.monotonic()
        if path is not None:
            weights, prior = target.decoder.state_dict(), target.space.prior
            parts = {**settings, "images": target.x, "decoder": weights, "chains": target.shape}
            parts |= {"prior": prior, "distortion": target.distortion, "format": 2}
            self.identity, self.probe = checkpoint.identity(**parts), target.probe()

    def save(self, state: AnnealingState, table: StepSizes, records: list[list[Tensor]]) -> None:
        """Write all, if the last time is `CHECKPOINT_SECONDS` ago."""
        if self.path is None or time.monotonic() - self.saved <= CHECKPOINT_SECONDS:
            return
        tree = {"identity": self.identity, "probe": self.probe, "records": records}
        tree |= {"state": state, "step_sizes": table}
        checkpoint.save(self.path, tree | {"generators": [g.get_state() for g in self.generators]})
        self.saved = time.monotonic()

    def load(self) -> tuple[AnnealingState, StepSizes, list[list[Tensor]]] | None:
        """What `save` wrote, if it did, and sets the generators; ValueError for another run."""
        if self.path is None or not self.path.exists():
            return None
        saved = checkpoint.load(self.path, device=self.device)
        check_same_run(self.path, saved, self.identity, self.probe)
        states = [state.cpu() for state in saved["generators"]]
        if [state.shape for state in states] != [g.get_state().shape for g in self.generators]:
            other = f"a run interrupted on another kind of device than {self.device.type}"
            advice = "go on there, name another file, or delete it to start anew"
            raise ValueError(f"{self.path} holds {other}: {advice}")
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)
        chain, *others = saved["state"]
        table = StepSizes(*saved["step_sizes"]).to("cpu")
        return AnnealingState(HMCState(*chain), *others), table, saved["records"]

    def remove(self) -> None:
        """The run is finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
