"""The rate-distortion curve of any decoder on many images, by one process or by many.

    dgm-evaluate decoder.onnx images.npy folder
    torchrun --nproc-per-node 2 -m dgm.evaluate decoder.onnx images.npy folder

The images are cut into shards, and each has a random generator of its own, so that the numbers do
not depend on how many processes share the work. Whoever starts again with the same arguments goes
on from the shards that are finished.
"""

import contextlib
import datetime
import inspect
import math
import numbers
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from dgm import checkpoint
from dgm.evaluate import files
from dgm.papers.rate_distortion import RateDistortionCurve, rate_distortion_curve
from dgm.progress import progress_bar
from dgm.sampling import decoder_checks, decoder_target
from dgm.sampling.decoder_checks import Decoder, check_betas, check_images, count
from dgm.sampling.hmc import make_generators
from dgm.sampling.perception import Perception, n_draws, perception_curve
from dgm.sampling.pilot import check_options
from dgm.sampling.resume import check_same_run
from dgm.sampling.schedules import steps_per_beta

NOT_DESCRIBED = ("device", "progress", "checkpoint", "scale", "options", "perception")
PROBES = 8
START = datetime.timedelta(minutes=5)  # for all ranks to find each other
WORK = datetime.timedelta(days=7)  # a rank may wait for another as long as a shard takes


class _Job(NamedTuple):
    """What is to be evaluated, after all checks and before any work."""

    decoder: nn.Module
    x: Tensor  # (N, ...)
    arguments: dict[str, Any]  # of rate_distortion_curve, the same for all shards
    shard_size: int
    seed: int
    paths: list[Path]  # of all finished shards
    saved: dict[str, Any]  # with each of them: all that its numbers depend on
    perception: Perception | int | None = None

    def missing(self) -> list[int]:
        """Shards without a file."""
        return [shard for shard, path in enumerate(self.paths) if not path.exists()]


def evaluate(
    decoder: Callable[[Tensor], Any] | str | os.PathLike,
    x: Tensor | np.ndarray,
    *,
    latent_dim: int | None = None,
    betas: Sequence[float] | Tensor,
    output: str | os.PathLike,
    shard_size: int = 16,
    seed: int = 0,
    device: str | torch.device | None = None,
    **arguments: Any,
) -> RateDistortionCurve:
    """`rate_distortion_curve` in shards that are saved as files, shared among torchrun's ranks.

    Ranks with the same number of threads on the same kind of device give the numbers of one process
    bit for bit. The decoder may be a TorchScript or ONNX file, and latent_dim None where it takes
    codes of one length alone. Besides the arguments of `rate_distortion_curve`, of which step_sizes
    is a number or None, it takes `output`, the folder of the finished shards, which all ranks must
    see, and images per shard. device="cuda" gives each rank of a machine its own GPU. Returns the
    curve of all N images, fields (R, N), on every rank, without step sizes. ValueError for what
    `rate_distortion_curve` refuses, or a folder with shards of another run; finished ones stay.
    """
    if isinstance(decoder, str | os.PathLike):
        decoder = files.load_decoder(decoder)
    latent_dim = files.latent_dimension(decoder) if latent_dim is None else latent_dim
    decoder = Decoder(decoder)
    with decoder_checks.own_context(torch.device("cpu")), _ranks() as (rank, n_ranks, group):
        device = _own_device(device, decoder, n_ranks)
        arguments = {**arguments, "latent_dim": latent_dim, "betas": betas, "device": device}
        job = _job(decoder, x, output, shard_size, seed, arguments)
        return _run(job, rank, n_ranks, group)


@contextlib.contextmanager
def _ranks() -> Iterator[tuple[int, int, Any]]:
    """This process's rank, how many there are, and their group (None: the default one)."""
    if dist.is_available() and dist.is_initialized():
        yield dist.get_rank(), dist.get_world_size(), None
    elif dist.is_available() and dist.is_torchelastic_launched():
        message = f"the ranks did not meet within {START}: was the launcher stopped? Start again."
        with decoder_checks.advised(message):
            # Results travel as files and ranks only wait for each other; unlike nccl, gloo tells a
            # rank that waits when another has died.
            dist.init_process_group("gloo", timeout=START)
            group = dist.new_group(timeout=WORK)
        try:
            yield dist.get_rank(), dist.get_world_size(), group
        finally:
            dist.destroy_process_group()
    elif os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        wrong = "torchrun did not start this process, so each would do all the work"
        size = f"WORLD_SIZE={os.environ['WORLD_SIZE']}"
        raise ValueError(f"{size} is set, but {wrong}: start it by torchrun, or unset WORLD_SIZE")
    else:
        yield 0, 1, None


def _own_device(
    device: str | torch.device | None, decoder: nn.Module, n_ranks: int
) -> torch.device | None:
    """The device of this rank: of several on one machine, each has a GPU of its own."""
    if device is None:
        parameter = next(decoder.parameters(), None)
        if n_ranks == 1 or parameter is None or not parameter.is_cuda:
            return None
        device = "cuda"
    if str(device) == "cuda" and n_ranks > 1 and torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", dist.get_rank()))
        device = torch.device("cuda", local % torch.cuda.device_count())
        torch.cuda.set_device(device)
    return decoder_checks.named_device(device)


def _job(
    decoder: nn.Module,
    x: Tensor | np.ndarray,
    output: str | os.PathLike,
    shard_size: int,
    seed: int,
    arguments: dict[str, Any],
) -> _Job:
    """Checks all that can be checked before the first shard, that of old shards included."""
    decoder, x, shard_size = Decoder(decoder), check_images(x), count(shard_size, "shard_size")
    make_generators(seed := count(seed, "seed", 0), 1, "cpu")
    bound = inspect.signature(rate_distortion_curve).bind(decoder, x, **arguments)
    bound.apply_defaults()
    settings = {**bound.kwargs, "betas": check_betas(bound.arguments["betas"]).tolist()}
    options = settings["options"]
    check_options(options, settings["n_chains"], settings["step_sizes"])
    if settings["checkpoint"] is not None or options.scale is not None:
        raise ValueError("checkpoint and scale are chosen by evaluate itself: leave them out")
    if not isinstance(settings["step_sizes"], numbers.Real | None):
        raise ValueError("step_sizes of single images cannot be given here: a number, or None")
    per_beta, latent_dim = settings["temperatures_per_beta"], settings["latent_dim"]
    steps_per_beta(per_beta, check_betas(settings["betas"]), 1.0, latent_dim)
    count(settings["n_leapfrog"], "n_leapfrog")
    given = {name: settings[name] for name in ("latent_dim", "n_chains", "prior", "distortion")}
    given["force_precision"] = options.force_precision
    run = decoder_target.prepared(decoder, settings["device"], settings["precision"])
    with run as (network, like):
        images = x[:shard_size].flatten(1).to(**like)
        target = decoder_target.DecoderTarget(network, images, **given)
        generator = torch.Generator(like["device"]).manual_seed(seed)
        (state, *_), scale = target.first_chains(generator, x.shape[1:])
    probe = torch.stack([state.energy[:PROBES], state.prior_energy[:PROBES]]).cpu()
    # One scale for all shards, by three digits, so that ranks on unlike machines agree.
    settings["options"] = options._replace(scale=float(f"{scale:.3g}"))
    parts = {**settings, **options._asdict(), "seed": seed, "shard_size": shard_size}
    parts = {name: value for name, value in parts.items() if name not in NOT_DESCRIBED}
    parts |= {"images": x.flatten(1), "decoder": decoder.state_dict()}
    perception = settings["perception"]
    parts |= {"kind of decoder": type(decoder.given), "draws": n_draws(perception) or None}
    settings["perception"] = parts["draws"]  # a shard keeps the codes; distances need all images
    saved = {"identity": checkpoint.identity(**parts), "probe": probe}
    del settings["seed"], settings["checkpoint"]  # each shard has its own
    folder, n_shards = Path(output).expanduser(), math.ceil(len(x) / shard_size)
    shards = [folder / f"shard-{shard:05d}.safetensors" for shard in range(n_shards)]
    for path in filter(Path.exists, shards):
        check_same_run(path, checkpoint.load(path), **saved)
    return _Job(decoder, x, settings, shard_size, seed, shards, saved, perception)


def _run(job: _Job, rank: int, n_ranks: int, group: Any) -> RateDistortionCurve:
    """Evaluates this rank's part of the missing shards, waits for the others, and joins them."""

    def wait() -> None:
        if n_ranks > 1:
            dist.barrier(group)

    missing = job.missing()
    wait()  # until all have looked, since finished files appear from here on
    mine, quiet = missing[rank::n_ranks], rank > 0 or not job.arguments["progress"]
    with _report_at_the_end(job, rank, n_ranks):
        for shard in progress_bar(mine, unit="shard", disable=quiet or len(mine) < 2, leave=False):
            images = slice(shard * job.shard_size, (shard + 1) * job.shard_size)
            curve = rate_distortion_curve(
                job.decoder,
                job.x[images],
                **{**job.arguments, "progress": not quiet},
                seed=[_image_seed(job.seed, index) for index in range(len(job.x))[images]],
                checkpoint=job.paths[shard].with_suffix(".unfinished"),
            )
            fields = {name: v for name, v in curve._asdict().items() if isinstance(v, Tensor)}
            checkpoint.save(job.paths[shard], {**job.saved, "curve": fields})
        wait()
        parts = [checkpoint.load(path)["curve"] for path in job.paths]
    beta = parts[0].pop("beta")
    columns: Any = {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}
    if isinstance(job.perception, Perception):
        run = job.arguments["device"], job.arguments["precision"]
        with decoder_target.prepared(job.decoder, *run) as (network, like):
            compared = columns["draws"], job.x.flatten(1).to(**like), job.perception
            columns["perception"] = perception_curve(network, *compared)
    return RateDistortionCurve(beta, **columns)


def _image_seed(seed: int, index: int) -> int:
    """The seed of one image's random numbers, whichever shard it is in; below 2^62."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0]) >> 2


@contextlib.contextmanager
def _report_at_the_end(job: _Job, rank: int, n_ranks: int) -> Iterator[None]:
    """When this rank stops early, such as by torchrun's SIGTERM, says what is finished."""

    def report(reason: str) -> None:
        if rank > 1:  # ranks 0 and 1 speak, since one of them may be the one that died
            return
        missing, n = job.missing(), len(job.paths)
        print(
            f"\nrank {rank} of {n_ranks} stopped ({reason}): {n - len(missing)} of {n} "
            f"shards are finished and kept in {job.paths[0].parent}; missing: {missing}. "
            "Start the same command again, with any number of ranks, and it goes on from there.",
            file=sys.stderr,
            flush=True,
        )

    def stop(number: int, _frame: object) -> None:
        report("it was asked to end, as when another rank has died")
        os._exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop) if n_ranks > 1 else None
    try:
        yield
    except BaseException as error:
        report(type(error).__name__)
        raise
    finally:
        if n_ranks > 1:
            signal.signal(signal.SIGTERM, before)


def main(arguments: list[str] | None = None) -> int:
    """The command line, `dgm.evaluate.command.main`."""
    from dgm.evaluate import command  # which imports this module

    return command.main(arguments)
