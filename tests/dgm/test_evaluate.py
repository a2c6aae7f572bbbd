"""Shards and ranks give one run's numbers; what is finished stays; what does not fit is refused."""

import datetime
import importlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from chains import assert_same, interrupted, linear_problem, with_options
from checks import close, exactly
from draws import rng
from torch import nn
from torch.distributions import Independent, Normal, Uniform

from dgm import evaluate as module
from dgm.evaluate import _image_seed, evaluate, main
from dgm.papers import rate_distortion
from dgm.papers.rate_distortion import RateDistortionCurve, linear_gaussian_curve

BETAS = [0.1, 1.0, 10.0]
QUICK = {"n_chains": 6, "n_leapfrog": 3, "temperatures_per_beta": 8, "progress": False}
# Of `--decoder mine:decoder`; with KILL set, rank 1 is killed when it begins its second shard.
MINE = """
import os, pathlib, signal
import torch

class Linear(torch.nn.Linear):
    def forward(self, z):
        kill = os.environ.get("KILL")
        if kill and os.environ["RANK"] == "1" and pathlib.Path(kill).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(z)

def decoder():
    linear, generator = Linear(3, 12).double(), torch.Generator().manual_seed(0)
    weight = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    linear.load_state_dict({"weight": weight, "bias": torch.zeros(12)})
    return linear

def prior():
    normal = torch.distributions.Normal(torch.zeros(3, dtype=torch.float64), 2.0)
    return torch.distributions.Independent(normal, 1)

def distance(x, output):
    return (x - output).abs().sqrt().sum(-1)

def raises(*_):
    raise KeyError("no such weights")

leaves, not_a_module = exit, dict
"""


problem = partial(linear_problem, 7, 12, 3, scale=1.0, offset=0.0)  # the decoder of MINE


def settings_of(arguments):
    return with_options({"latent_dim": 3, "betas": BETAS, **QUICK, **arguments})


def quick(decoder, x, output, **arguments):
    return evaluate(decoder, x, output=output, **settings_of({"shard_size": 2, **arguments}))


def direct(decoder, x, scale, seed=0, **arguments):
    seeds = [_image_seed(seed, i) for i in range(len(x))]
    settings = settings_of({"scale": scale, **arguments, "seed": seeds})
    return rate_distortion.rate_distortion_curve(decoder, x, **settings)


def normal_prior(s):
    return Independent(Normal(torch.zeros(3).double(), s), 1)


def times(folder, pattern):
    """When each file was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}


def counted():
    """The problem with a list that grows with each call of the decoder."""
    decoder, x = problem()
    calls = []
    decoder.register_forward_pre_hook(lambda *_: calls.append(1))
    return decoder, x, calls


def shard_scale(decoder, x, folder, seed=0, **arguments):
    """The scale of temperatures that one shard of all images has."""
    job = module._job(decoder, x, folder, len(x), seed, settings_of(arguments))
    return job.arguments["options"].scale


class TestShards:
    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {
                "prior": normal_prior(1.5),
                "precision": "float32",
                "schedule": "adaptive",
                "distortion": lambda a, b: (a - b).abs().sum(-1),
            },
            {"prior": Independent(Uniform(-torch.ones(3).double(), 2.0), 1), "step_sizes": 0.1},
        ],
        ids=["default", "every choice", "a box"],
    )
    def test_are_the_engines_own_runs(self, tmp_path, arguments):
        decoder, x = problem()
        ours = quick(decoder, x, tmp_path, shard_size=7, seed=5, **arguments)
        scale = shard_scale(decoder, x, tmp_path, 5, **arguments)
        assert_same(ours, direct(decoder, x, scale, 5, **arguments))
        alone = quick(decoder, x, tmp_path / "alone", shard_size=6, seed=5, **arguments)
        assert ours.codes.shape == alone.codes.shape  # of a last shard of one image

    def test_an_images_numbers_do_not_depend_on_the_shard_or_on_further_images(self, tmp_path):
        decoder, x = problem()
        small = quick(decoder, x, tmp_path / "small")
        first = quick(decoder, x[:4], tmp_path / "first")
        exactly(first[1:6], tuple(b[:, :4] for b in small[1:6]))
        scale = float(f"{shard_scale(decoder, x[:2], tmp_path / 'none'):.3g}")
        close(small[:6], direct(decoder, x, scale)[:6], rtol=1e-8, atol=1e-8)  # larger batches

    def test_images_have_unlike_seeds(self):
        seeds = {_image_seed(seed, i) for seed, i in itertools.product(range(20), range(200))}
        assert len(seeds) == 4000
        assert max(seeds) < 2**62
        assert _image_seed(0, 1) == 1459132311362927889  # so that old shards stay right

    def test_an_interrupted_run_says_what_is_kept(self, tmp_path, capfd):
        decoder, x, calls = counted()
        undisturbed = quick(decoder, x, tmp_path / "whole")
        stop = len(calls) * 5 // 3
        with interrupted(lambda: len(calls) >= stop):
            quick(decoder, x, tmp_path / "cut")
        message = capfd.readouterr().err
        assert all(part in message for part in ("2 of 4 shards are finished", "missing: [2, 3]"))
        finished = times(tmp_path / "cut", "*00[01]*")
        assert len(finished) == 2
        assert_same(quick(decoder, x, tmp_path / "cut"), undisturbed)
        assert times(tmp_path / "cut", "*").items() >= finished.items()

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("decoder", {"decoder": nn.Linear(3, 12).double()}),
            ("images", {"x": problem()[1] + 1e-9}),
            ("betas", {"betas": [0.1, 1.0, 11.0]}),
            ("shard_size", {"shard_size": 3}),
            ("prior", {"prior": None}),
            ("the prior or", {"prior": normal_prior(1.0003)}),
            ("step_sizes", {"step_sizes": np.float32(0.1)}),
        ],
    )
    def test_of_another_run_are_refused(self, tmp_path, name, change):
        decoder, x = problem()
        settings = {
            "decoder": decoder,
            "x": x,
            "prior": normal_prior(1.0),
            "temperatures_per_beta": 1,
        }
        quick(output=tmp_path, **settings)
        with pytest.raises(ValueError, match=rf"another run: .*{name}"):
            quick(output=tmp_path, **{**settings, **change})

    def test_of_any_caller_are_the_same(self, tmp_path, monkeypatch):
        decoder, x = problem()
        plain = quick(decoder, x, tmp_path / "plain", seed=3)
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        numbers = {"seed": np.int64(3), "shard_size": np.int64(2), "n_chains": np.int64(6)}
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            ours = quick(decoder, x.numpy(), "~/plain", **numbers)  # reused
        assert_same(ours, plain)
        ours = quick(decoder.forward, x.numpy(), "~/other", **numbers)
        close(ours[:6], plain[:6], rtol=1e-8, atol=1e-8)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "other", "plain"]
        assert not any((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_chains": 0}, ValueError, "n_chains"),
        ({"latent_dim": 4}, ValueError, "latent_dim=4"),
        ({"shard_size": 0}, ValueError, "shard_size must be at least 1"),
        ({"step_sizes": torch.ones(7)}, ValueError, "a number, or None"),
        ({"checkpoint": "file"}, ValueError, "leave them out"),
        ({"scale": 1.0}, ValueError, "leave them out"),
        ({"chains": 3}, TypeError, "chains"),
        ({"x": torch.zeros(7, 5)}, ValueError, "12"),
        ({"prior": torch.distributions.Normal(torch.zeros(3), 1.0)}, ValueError, "Independent"),
        ({"distortion": lambda a, b: torch.rand(len(b))}, ValueError, "noise|gradient"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(tmp_path, arguments, error, message):
    decoder, x = problem()
    arguments = {"x": x.float(), **arguments}
    with pytest.raises(error, match=message):
        quick(decoder.float(), output=tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    np.save(tmp_path / "images.npy", problem()[1].numpy())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("mine", None)
    return tmp_path


def assert_written(folder, **arguments):
    """The curve in the folder is that of the function."""
    decoder = importlib.import_module("mine").decoder()
    expected = quick(decoder, problem()[1], folder / "other", **arguments)
    assert_same(RateDistortionCurve.load(folder / "out/curve.safetensors"), expected)


def command(**changes):
    options = {
        "decoder": "mine:decoder", "images": "images.npy", "latent-dim": 3, "betas": BETAS,
        "output": "out", "chains": 6, "leapfrog": 3, "temperatures": 8, "shard-size": 2,
        "device": "cpu",
    }  # fmt: skip
    options.update({name.replace("_", "-"): value for name, value in changes.items()})
    flat = []
    for name, value in options.items():
        flat += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return flat


UNREADABLE = "none.npy cut.npy objects.npy text.safetensors"
IMAGES = {
    "mine.py": "must be a .npy or",
    "nan.npy": "NaN or infinity in images [1]",
    "narrow.npy": "12",
    "complex.npy": "holds complex numbers",
    "flat.npy": "batch of images",
    **{name: f"{name} cannot be read" for name in UNREADABLE.split()},
    **dict.fromkeys(["bytes.npy", "bytes.safetensors"], "x / 255, as float32"),
    **dict.fromkeys(["nothing.safetensors", "two.safetensors"], "none is named 'images'"),
}


class TestCommandLine:
    def test_gives_the_functions_numbers(self, folder, capsys):
        assert main(command()) == 0
        assert_written(folder)
        assert (folder / "out/curve.png").read_bytes().startswith(b"\x89PNG")
        message = capsys.readouterr().out
        assert "7 images in 4 shards, 4 to do" in message
        assert len([line for line in message.splitlines() if "±" in line]) == len(BETAS) + 1

    def test_takes_a_prior_and_a_distortion(self, folder):
        safetensors.torch.save_file({"images": problem()[1]}, folder / "images.safetensors")
        changes = {"prior": "mine:prior", "distortion": "mine:distance"}
        assert main(command(images="images.safetensors", temperatures=3, **changes)) == 0
        import mine

        arguments = {"prior": mine.prior(), "distortion": mine.distance}
        assert_written(folder, temperatures_per_beta=3, **arguments)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            *[({"images": name}, message) for name, message in IMAGES.items()],
            ({"betas": [1, 0.5]}, "ascending"),
            ({"decoder": "mine"}, "package.module:function"),
            ({"decoder": "nowhere:decoder"}, "No module named 'nowhere'"),
            ({"decoder": "mine:decoders"}, "has no attribute 'decoders'"),
            ({"decoder": "mine:not_a_module"}, "no nn.Module"),
            ({"latent_dim": 4}, "latent_dim=4"),
            ({"output": "mine.py"}, "mine.py"),
            ({"chains": 0}, "at least 1, got 0"),
            ({"seed": -1}, "at least 0, got -1"),
            ({"seed": 2**64}, "seed"),
            ({"device": "gpu"}, "device must be one"),
            ({"force_precision": "tf32"}, "needs a CUDA device"),
            ({"schedule": "adaptive", "chains": 1}, "at least two chains"),
            ({"decoder": "mine:raises"}, "mine:raises raised KeyError: 'no such weights'"),
            ({"decoder": "mine:leaves"}, "raised SystemExit"),
            ({"decoder": "broken:decoder"}, "broken:decoder raised SyntaxError"),
            ({"distortion": "mine:raises"}, "KeyError: 'no such weights'"),
        ],
    )
    def test_says_what_does_not_fit(self, folder, capsys, changes, message):
        arrays = {
            "bytes": np.full((3, 12), 200, np.uint8),
            "nan": np.stack([np.zeros(12), np.full(12, np.nan)]),
            "flat": np.zeros(12),
            "narrow": np.zeros((3, 5)),
            "complex": np.zeros((3, 12), complex),
            "objects": np.array([[{}]]),
        }
        for name, array in arrays.items():
            np.save(name, array)
        Path("text.safetensors").write_text("0.5 0.25 0.125\n" * 9)
        Path("cut.npy").write_bytes(Path("nan.npy").read_bytes()[:150])
        save, zeros = safetensors.torch.save_file, torch.zeros(3, 12)
        save({}, "nothing.safetensors")
        save({"a": zeros, "b": zeros.clone()}, "two.safetensors")
        save({"a": zeros.byte() + 200}, "bytes.safetensors")
        Path("broken.py").write_text("def decoder(:\n")
        assert main(command(**changes)) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
        assert not (folder / "out").exists()


def torchrun(folder, *arguments, **environment):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launcher, "-m", "dgm.evaluate", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


class TestRanks:
    def test_without_a_launcher_are_refused(self, folder, capsys, monkeypatch):
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert main(command()) == 2
        assert "torchrun" in capsys.readouterr().err
        decoder, x = problem()
        with pytest.raises(ValueError, match="WORLD_SIZE"):
            quick(decoder, x, folder / "other")
        monkeypatch.setenv("WORLD_SIZE", "1")
        monkeypatch.setenv("HOME", str(folder))
        assert main(command(images="~/images.npy", output="~/here", temperatures=1)) == 0
        assert (folder / "here" / "curve.safetensors").exists()

    def test_whose_launcher_is_gone_give_up(self, folder, capsys, monkeypatch):
        monkeypatch.setattr(module, "START", datetime.timedelta(seconds=1))
        launched = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "2"}
        for name, value in (launched | {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}).items():
            monkeypatch.setenv(name, value)
        began = time.monotonic()
        assert main(command()) == 2
        assert "launcher" in capsys.readouterr().err
        assert time.monotonic() - began < 60

    def test_two_give_the_numbers_of_one_process(self, folder):
        done = torchrun(folder, *command())
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("7 images in 4 shards") == 1
        assert "0/2 [" in done.stderr  # rank 0 has half of the shards
        assert_written(folder)

    def test_a_killed_one_is_reported_and_what_is_finished_is_kept(self, folder):
        killed = torchrun(folder, *command(), KILL=str(folder / "out/shard-00001.safetensors"))
        assert killed.returncode != 0
        assert f"Signal {int(signal.SIGKILL)} (SIGKILL)" in killed.stderr
        assert "rank 0 of 2 stopped" in killed.stderr
        assert re.search(r"; missing: \[(0, )?(2, )?3\]\. Start", killed.stderr)
        finished = times(folder / "out", "shard-*.safetensors")
        assert folder / "out/shard-00001.safetensors" in finished
        assert not (folder / "out/curve.safetensors").exists()
        assert main(command()) == 0
        assert times(folder / "out", "shard-*.safetensors").items() >= finished.items()
        assert_written(folder)


class TestCurve:
    @pytest.fixture
    def curve(self):
        decoder, x = problem()
        return linear_gaussian_curve(decoder.weight, decoder.bias, x, BETAS)

    def test_plots_itself(self, curve):
        assert f'alt="{curve!r}"' in (html := curve._repr_html_())
        assert 'src="data:image/png;base64,iVBORw0KGgo' in html
        (axes,) = curve.plot().axes
        line, dots = axes.lines
        mean, legendre = curve.mean(), curve.legendre()
        points = torch.stack([mean.distortion, mean.rate], 1)
        np.testing.assert_array_equal(line.get_xydata(), points)
        np.testing.assert_array_equal(dots.get_xydata(), torch.stack([*legendre], 1))
        edges = axes.collections[0].get_paths()[0].vertices[:, 1]
        low, high = (mean.rate + sign * 2 * mean.rate_error for sign in (-1, 1))
        assert (edges.min(), edges.max()) == pytest.approx((float(low.min()), float(high.max())))
        assert "nats" in axes.get_ylabel()

    def test_shares_axes_with_another_even_of_one_image(self, curve):
        figure = curve.plot(label="ours")
        one = linear_gaussian_curve(torch.ones(3, 1), torch.ones(3), torch.ones(1, 3), BETAS)
        assert one.plot(figure.axes[0], "theirs") is figure
        curves = figure.axes[0].lines[::2]
        assert [line.get_label() for line in curves] == ["ours", "theirs"]
        assert curves[0].get_linestyle() != curves[1].get_linestyle()
        assert np.isfinite(figure.axes[0].collections[1].get_paths()[0].vertices).all()


class TestPage:
    """`book/your_own_decoder.md` keeps to the library."""

    PAGE = Path(__file__).parents[2] / "book" / "your_own_decoder.md"

    def test_its_code_runs(self, tmp_path, monkeypatch):
        curve_sizes = {"n_chains": 4, "n_leapfrog": 2, "temperatures_per_beta": 2}
        for function, sizes in (
            (rate_distortion.rate_distortion_curve, curve_sizes),
            (rate_distortion.bdmc_gap, {"n_temperatures": 20}),
        ):
            for name, value in (sizes | {"progress": False}).items():
                monkeypatch.setitem(function.__kwdefaults__, name, value)
        monkeypatch.chdir(tmp_path)
        names = {
            "my_decoder": nn.Linear(10, 16).requires_grad_(False),
            "my_images": torch.randn(3, 4, 4, generator=rng()),
        }
        blocks = re.findall(r"```python\n(.*?)```", self.PAGE.read_text("utf-8"), re.DOTALL)
        assert len(blocks) >= 7
        for block in blocks:
            exec(block, names)
            names.setdefault("other_curve", names["curve"])
        assert isinstance(names["curve"], RateDistortionCurve)
        assert names["curve"].distortion.shape == (25, 3)

    def test_quotes_messages_that_exist(self):
        sources = Path(module.__file__).parents[1].rglob("*.py")
        text = "".join(path.read_text("utf-8") for path in sources)
        text = re.sub(r'"\s*\n\s*f?"', "", text)  # literals that go on in the next line
        quoted = re.findall(r"^\| `([^|]+)` \|", self.PAGE.read_text("utf-8"), re.MULTILINE)
        assert len(quoted) >= 10
        for message in quoted:
            assert message in text, message
