"""All six chapters on a GPU: their training steps, samplers, evaluators and results.

`pytest -m gpu` runs them on a real one. Without one the same tests run on the pretended device,
which sees tensors of two devices, but no kernel.
"""

import contextlib
import os

import on_device
import pytest
import torch
from benches import Watch
from pretended_device import pretended_device

from dgm.papers.rate_distortion import rate_distortion_curve
from dgm_book import profiles

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # with it cuBLAS repeats itself

ROUNDING = 2.0**-8  # of a product in bfloat16, relative
COUNTS = ("accuracy",)  # of pairs in the right order, which a rounding may turn


@pytest.fixture(params=["pretended", pytest.param("cuda", marks=pytest.mark.gpu)])
def setting(request, tmp_path, monkeypatch):
    """The smoke profile on the device, with a results folder of its own."""
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "device"))
    monkeypatch.delenv("DGM_DATA", raising=False)
    on_device.replace_data(monkeypatch)
    with pretended_device() if request.param == "pretended" else contextlib.nullcontext():
        yield on_device.Setting(profiles.get("smoke", "cuda"), mixed=True)
        on_device.forget()


@pytest.fixture
def on_the_cpu(tmp_path):
    """Runs a function of a setting on the CPU in float32, in a results folder of its own."""

    def run(function):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DGM_RESULTS", str(tmp_path / "cpu"))
            on_device.forget()
            return function(on_device.Setting(profiles.get("smoke", "cpu"), mixed=False))

    return run


@pytest.fixture
def repeatable():
    """Has the device compute the same twice, as far as it can."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("chapter", on_device.CHAPTERS)
def test_every_result_of_a_chapter(chapter, setting):
    assert all(result is not None for result in on_device.CHAPTERS[chapter](setting))


@pytest.mark.parametrize("name", on_device.TRAININGS)
def test_training(name, setting, on_the_cpu, monkeypatch):
    """Losses are finite, every parameter has a gradient, and the first loss is that of the CPU."""
    watched = on_device.watch(monkeypatch)
    with on_device.NoiseFromCPU(), Watch() as types:
        on_device.TRAININGS[name](setting)
    assert torch.float16 not in types.computed
    assert len(watched.terms) >= on_device.STEPS
    assert all(torch.tensor(list(terms.values())).isfinite().all() for terms in watched.terms)
    without = [p.shape for i, p in watched.parameters.items() if i not in watched.with_gradient]
    assert not without
    first = watched.terms[0]
    watched.terms.clear()
    on_the_cpu(on_device.TRAININGS[name])
    for term, value in watched.terms[0].items():
        # A loss is a mean of many sums, whose roundings partly cancel: 1.3 are left at most.
        if term not in COUNTS:
            assert first[term] == pytest.approx(value, rel=4 * ROUNDING, abs=4 * ROUNDING), term


@pytest.mark.parametrize("name", on_device.TRAININGS)
def test_a_killed_training_goes_on_to_the_bit(name, setting, monkeypatch, tmp_path, repeatable):
    """Interrupted two steps before its end; all terms are those of the whole run."""
    whole = on_device.watch(monkeypatch)
    on_device.TRAININGS[name](setting)
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "parts"))
    on_device.forget()
    parts = on_device.watch(monkeypatch, kill_at=len(whole.terms) - 2)
    with pytest.raises(on_device.StoppedError):
        on_device.TRAININGS[name](setting)
    on_device.watch(monkeypatch, parts)
    on_device.TRAININGS[name](setting)
    assert parts.terms == whole.terms


@pytest.mark.parametrize("name", [name for name in on_device.TRAININGS if name[0] in "2345"])
def test_a_card_before_8_0_computes_in_float32(name, setting):
    with pytest.MonkeyPatch.context() as patch, Watch() as types:
        patch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
        on_device.TRAININGS[name](setting)
    assert torch.float32 in types.computed
    assert not {torch.bfloat16, torch.float16} & types.computed


@pytest.mark.parametrize("chapter", on_device.EVALUATIONS)
def test_evaluation(chapter, setting, on_the_cpu, monkeypatch):
    """With one file of weights, without TF32: in float32, or float64 as chapters 1 and 6."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    weights = {}
    expected = on_the_cpu(lambda setting: on_device.EVALUATIONS[chapter](setting, weights))
    with on_device.NoiseFromCPU():
        values = on_device.EVALUATIONS[chapter](setting, weights)
    assert values.keys() == expected.keys()
    for key, value in values.items():
        torch.testing.assert_close(value.cpu(), expected[key], rtol=1e-4, atol=1e-5, msg=key)


def test_a_curve_interrupted_on_the_device_is_no_run_of_the_cpu(setting, monkeypatch, tmp_path):
    monkeypatch.setattr("dgm.sampling.resume.CHECKPOINT_SECONDS", 0.0)
    decoder, left = torch.nn.Linear(2, 5), iter(range(60))
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    options = {"latent_dim": 2, "betas": [0.5, 5.0, 50.0], "n_chains": 2, "n_leapfrog": 3}
    options |= {
        "temperatures_per_beta": 8,
        "step_sizes": 0.1,
        "checkpoint": tmp_path / "run.safetensors",
    }

    def fragile(_module, _inputs):
        if next(left, None) is None:
            raise on_device.StoppedError

    handle = decoder.register_forward_pre_hook(fragile)
    with pytest.raises(on_device.StoppedError):
        rate_distortion_curve(decoder, x, device=setting.profile.device, **options)
    handle.remove()
    with pytest.raises(ValueError, match=r"another kind of device|another run"):
        rate_distortion_curve(decoder, x, device="cpu", **options)
