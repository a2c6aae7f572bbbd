"""`dgm-evaluate`: the rate-distortion curve of a decoder in a file, and a page that reports it.

    dgm-evaluate decoder.onnx images.npy folder
    dgm-evaluate package.module:function images.npy folder --latent-dim 10 --betas 0.1 1 10 100

The decoder is a TorchScript or ONNX file, or a function that returns a module. The folder gets the
curve, its picture, a page `report.html`, and the finished shards of images: the same command goes
on from those. The page needs dgm[report], the picture matplotlib; without them they are left out.
"""

import argparse
import contextlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dgm import checkpoint, evaluate, paths
from dgm.evaluate import files
from dgm.papers.rate_distortion import RateDistortionCurve, SamplerOptions
from dgm.sampling import decoder_target
from dgm.sampling.decoder_checks import check_betas, count, in_short
from dgm.sampling.perception import Perception
from dgm.sampling.schedules import SCHEDULES, log_spaced

FILES = {"decoder": "decoder", "images": "images", "output": "folder"}
# Recorded prices where none are given, nats per squared range of the images.
LOWEST, HIGHEST, N_BETAS = 0.01, 1000.0, 21
QUICK = {"first": 16, "chains": 16, "leapfrog": 8, "temperatures": 16}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status, 2 for arguments that do not fit."""
    parser = _parser()
    given = [*(sys.argv[1:] if arguments is None else arguments)]
    if "--quick" in given:  # before the rest, which may say otherwise
        given = [part for name, n in QUICK.items() for part in (f"--{name}", str(n))] + given
    options = vars(parser.parse_args(given))
    del options["quick"]
    for name in FILES:  # by its place, or by its name
        options[name] = options.pop(f"{name} by place") or options[name]
    if absent := [word for name, word in FILES.items() if options[name] is None]:
        parser.error(f"say which {', which '.join(absent)}: dgm-evaluate DECODER IMAGES FOLDER")
    with contextlib.ExitStack() as stack:
        try:
            rank, n_ranks, group = stack.enter_context(evaluate._ranks())
            references = dict(map(_reference, options.pop("references")))
            job, folder = _job_of({**options}, n_ranks), options["output"]
            folder.mkdir(parents=True, exist_ok=True)
        except Exception as error:
            known = isinstance(error, ValueError | OSError)  # this library's own messages
            text = " ".join(str(error).split()) if known else in_short(error)
            print(f"error: {text}", file=sys.stderr, flush=True)
            return 2
        if rank == 0:
            print(f"{len(job.x)} images in {len(job.paths)} shards, {len(job.missing())} to do")
        curve = evaluate._run(job, rank, n_ranks, group)
        if rank == 0:
            written = _write(job, curve, folder, str(options["decoder"]), references)
            print(f"{_table(curve)}\nwritten: {written} in {folder}")
    return 0


def _write(
    job: evaluate._Job, curve: RateDistortionCurve, folder: Path, name: str, references: dict
) -> str:
    """The files that report a curve; their names, and what is left out, in words."""
    curve.save(folder / "curve.safetensors")
    written, left_out = ["curve.safetensors"], []
    if importlib.util.find_spec("matplotlib"):
        checkpoint.write_bytes(folder / "curve.png", curve.png())
        written.append("curve.png")
    else:
        left_out.append("curve.png needs matplotlib")
    if importlib.util.find_spec("jinja2") and importlib.util.find_spec("PIL"):
        from dgm.evaluate.report import report_page

        page = report_page(curve, job.decoder, job.x, title=Path(name).name, references=references)
        checkpoint.write_text(folder / "report.html", page)
        written.append("report.html")
    else:
        left_out.append("report.html needs dgm[report]")
    return "; ".join([", ".join(written), *left_out])


def _table(curve: RateDistortionCurve) -> str:
    """A curve as lines of text: means over images, with standard errors."""
    mean, runs = curve.mean(), torch.stack([curve.ess, curve.acceptance], -1).mean(1)
    row = "{:>9} {:>18} {:>18} {:>20} {:>7} {:>8}".format
    lines = [row("beta", "rate, nats", "distortion", "log Z", "chains", "accepted")]
    for r, (beta, (chains, accepted)) in enumerate(zip(mean.beta, runs, strict=True)):
        pairs = zip(mean[1::2], mean[2::2], strict=True)
        values = [f"{float(value[r]):.2f} ± {float(error[r]):.2f}" for value, error in pairs]
        lines.append(row(f"{beta:.4g}", *values, f"{chains:.1f}", f"{accepted:.2f}"))
    return "\n".join([*lines, "means over images ± standard errors; chains: effective sample size"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dgm-evaluate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    function = "package.module:function"
    kinds = {name: str if name == "decoder" else paths.expanded for name in FILES}
    helps = {
        "decoder": f"a TorchScript or ONNX file, or {function} that returns the module",
        "images": ".npy or .safetensors, (N, ...), scaled as the decoder draws",
        "output": "folder for shards, curve and report",
    }
    for name, kind in kinds.items():
        place: dict[str, Any] = {"nargs": "?", "metavar": FILES[name], "help": helps[name]}
        parser.add_argument(f"{name} by place", type=kind, **place)
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    add = parser.add_argument
    add("--latent-dim", type=int, help="where the decoder does not show it")
    usual = f"{N_BETAS} from {LOWEST:g} to {HIGHEST:g} per squared range of the images"
    add("--betas", type=float, nargs="+", help=f"ascending prices; when left out, {usual}")
    add("--first", type=int, metavar="N", help="take the first N images alone")
    add("--prior", metavar=function, help="returns it; N(0, I) when left out")
    add("--distortion", metavar=function, default="squared_error", help="the function itself")
    add("--perception", metavar=function, help='"pixels", or the features of images (C, P)')
    where, curve = "references", "NAME=curve.safetensors"
    add("--reference", action="append", default=[], dest=where, metavar=curve, help="on the page")
    quick = ", ".join(f"--{name} {n}" for name, n in QUICK.items())
    add("--quick", action="store_true", help=f"a first look, the same as {quick}")
    add("--shard-size", type=int, default=16, help="images per shard")
    add("--chains", type=int, default=40, dest="n_chains", help="per image")
    add("--leapfrog", type=int, default=20, dest="n_leapfrog", help="steps per transition")
    per_beta = "per recorded beta; chosen when left out"
    add("--temperatures", type=int, dest="temperatures_per_beta", help=per_beta)
    add("--schedule", choices=SCHEDULES, default="default", help="of temperatures")
    add("--force-precision", choices=decoder_target.FORCE_PRECISIONS, default="auto")
    add("--seed", type=int, default=0)
    add("--device", help="cpu or cuda; a GPU where there is one, when left out")
    add("--threads", type=int, help="of each rank, at most; PyTorch's choice when left out")
    return parser


def _job_of(options: dict[str, Any], n_ranks: int) -> evaluate._Job:
    """The job of the command line's options, after all checks."""
    if (threads := options.pop("threads")) is not None:
        torch.set_num_threads(count(threads, "threads"))
    if options["betas"] is not None:
        check_betas(options["betas"])
    x, first = _images(options.pop("images")), options.pop("first")
    x = x if first is None else x[: count(first, "first")]
    decoder = _decoder(options.pop("decoder"))
    if options["latent_dim"] is None:
        options["latent_dim"] = files.latent_dimension(decoder)
    device = options["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
    options["device"] = evaluate._own_device(device, decoder, n_ranks)
    if options["prior"]:
        options["prior"] = _find("--prior", options["prior"])
    if options["distortion"] != "squared_error":
        options["distortion"] = _find("--distortion", options["distortion"], called=False)
        if options["betas"] is None:
            raise ValueError("another distortion needs its own --betas")
    if options["betas"] is None:
        unit = float(x.max() - x.min()) ** 2 or 1.0
        options["betas"] = log_spaced(N_BETAS, LOWEST / unit, HIGHEST / unit)[1:]
    if (features := options["perception"]) is not None:
        read = None if features == "pixels" else _find("--perception", features, called=False)
        options["perception"] = Perception(features=read)
    options["options"] = SamplerOptions(options.pop("force_precision"), options.pop("schedule"))
    names = "output", "shard_size", "seed"
    output, shard_size, seed = (options.pop(name) for name in names)
    return evaluate._job(decoder, x, output, shard_size, seed, options)


def _images(path: Path) -> Tensor:
    try:
        return files.read_images(path)
    except ValueError as error:
        raise ValueError(f"--images {error}") from error


def _decoder(path: str) -> nn.Module:
    if ":" not in path or Path(path).suffix in files.SUFFIXES:
        if Path(path).suffix not in files.SUFFIXES:
            want = f"a file ({', '.join(files.SUFFIXES)}) or package.module:function"
            raise ValueError(f"--decoder must be {want}, got {path!r}")
        return files.load_decoder(path)
    decoder = _find("--decoder", path)
    if not isinstance(decoder, nn.Module):
        raise ValueError(f"--decoder {path} gave a {type(decoder).__name__}, no nn.Module")
    return decoder


def _reference(text: str) -> tuple[str, tuple[Tensor, Tensor]]:
    """Name and means (D, R) of a curve that is drawn beside the decoder's."""
    name, _, path = text.partition("=")
    if not path:
        raise ValueError(f"--reference must read NAME=curve.safetensors, got {text!r}")
    mean = RateDistortionCurve.load(path).mean()
    return name, (mean.distortion, mean.rate)


def _find(option: str, path: str, called: bool = True) -> Any:
    """What stands under module:name, or, unless it is a module, what it returns when called."""
    if ":" not in path:
        raise ValueError(f"{option} must read package.module:function, got {path!r}")
    if str(Path.cwd()) not in sys.path:  # as `python -m` has it, and an installed command has not
        sys.path.append(str(Path.cwd()))
    try:
        function = pkgutil.resolve_name(path)
        return function() if called and not isinstance(function, nn.Module) else function
    except (Exception, SystemExit) as error:
        reason = f"raised {in_short(error)}; started in {Path.cwd()}"
        raise ValueError(f"{option} {path} {reason}") from error
