"""The training loop: its history, what it refuses, and that a killed run ends as if unkilled."""

import copy
import itertools
import multiprocessing
import os
import random
import signal
import time

import pytest
import torch
from pretended_device import pretended_device
from torch import nn

from dgm import checkpoint
from dgm.data import minibatches
from dgm.train import TrainingState, fit

X = torch.rand(64, 6, generator=torch.Generator().manual_seed(3))
ORDER = minibatches(64, 16, seed=1)


def batches(i):
    return X[ORDER(i)]


def make(seed=5, width=8, lr=1e-2, optimizer=torch.optim.Adam):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, 6)
    )
    generator = torch.Generator().manual_seed(seed)
    return TrainingState(model, optimizer(model.parameters(), lr=lr), generator)


def step(state, batch):
    noisy = batch + 0.1 * torch.randn(batch.shape, generator=state.generator)
    loss = ((state.model(noisy) - batch) ** 2).mean()
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    return {"loss": loss, "noise": (noisy - batch).detach().abs().mean()}


def same(a, b):
    """Bit for bit: weights and buffers, optimiser, generator."""
    trees = [
        {
            "model": s.model.state_dict(),
            "optimizer": s.optimizer.state_dict(),
            "generator": s.generator.get_state(),
        }
        for s in (a, b)
    ]
    tensors = [{}, {}]
    texts = [
        checkpoint._flatten(tree, "", found) for tree, found in zip(trees, tensors, strict=True)
    ]
    return texts[0] == texts[1] and all(
        torch.equal(tensors[0][k], tensors[1][k]) for k in tensors[0]
    )


def same_history(a, b):
    return torch.equal(a.steps, b.steps) and all(
        torch.equal(a.terms[k], b.terms[k]) for k in a.terms
    )


def test_history_holds_the_means_of_each_window():
    seen = []

    def spy(state, batch):
        seen.append({k: v.item() for k, v in step(state, batch).items()})
        return {k: torch.tensor(v) for k, v in seen[-1].items()}

    history = fit(spy, batches, make(), 25, history_every=10, progress=False)
    assert history.steps.tolist() == [10, 20, 25]
    assert history.steps.dtype == torch.int64
    assert list(history.terms) == ["loss", "noise"]
    for name, values in history.terms.items():
        assert values.dtype == torch.float64
        for k, window in enumerate([seen[:10], seen[10:20], seen[20:]]):
            assert values[k].item() == pytest.approx(
                sum(s[name] for s in window) / len(window), 1e-12
            )


def test_training_trains_and_repeats():
    first, second, other = make(), make(), make(seed=6)
    history = fit(step, batches, first, 300, progress=False)
    fit(step, batches, second, 300, progress=False)
    fit(step, batches, other, 300, progress=False)
    assert history.terms["loss"][-1] < 0.7 * history.terms["loss"][0]
    assert same(first, second)
    assert not same(first, other)


def test_the_batches_of_all_steps_are_asked_for_in_order(tmp_path):
    asked = []

    def asking(i):
        asked.append(i)
        return batches(i)

    fit(step, asking, make(), 7, progress=False, checkpoint=tmp_path / "c")
    fit(step, asking, make(), 12, progress=False, checkpoint=tmp_path / "c")
    assert asked == list(range(12))


def test_no_steps_give_an_empty_history(tmp_path):
    history = fit(step, batches, make(), 0, progress=False, checkpoint=tmp_path / "c")
    assert history.steps.shape == (0,)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 9, 10, 11, 37, 49])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, stop, optimizer):
    def stopping(state, batch):
        calls.append(1)
        if len(calls) > stop:
            raise StoppedError
        return step(state, batch)

    whole, calls = make(optimizer=optimizer), []
    expected = fit(step, batches, whole, 50, history_every=10, progress=False)
    arguments = {"checkpoint": tmp_path / "c", "history_every": 10, "progress": False}
    with pytest.raises(StoppedError):
        fit(stopping, batches, make(optimizer=optimizer), 50, checkpoint_seconds=0, **arguments)
    done = []

    def counting(state, batch):
        done.append(1)
        return step(state, batch)

    resumed = make(optimizer=optimizer)
    history = fit(counting, batches, resumed, 50, **arguments)
    assert len(done) == 50 - stop
    assert same(whole, resumed)
    assert same_history(expected, history)


def test_a_finished_run_is_not_run_again_and_can_be_prolonged(tmp_path):
    arguments = {"checkpoint": tmp_path / "c", "history_every": 10, "progress": False}
    first = make()
    history = fit(step, batches, first, 25, **arguments)
    assert history.steps.tolist() == [10, 20, 25]
    again = make()
    assert same_history(fit(None, None, again, 25, **arguments), history)
    assert same(first, again)
    whole, longer = make(), make()
    expected = fit(step, batches, whole, 40, history_every=10, progress=False)
    assert same_history(fit(step, batches, longer, 40, **arguments), expected)
    assert same(whole, longer)


def test_a_learning_rate_that_the_step_lowers_is_resumed(tmp_path):
    def decaying(state, batch):
        for group in state.optimizer.param_groups:
            group["lr"] *= 0.9
        return step(state, batch)

    whole, half, resumed = make(), make(), make()
    fit(decaying, batches, whole, 20, progress=False)
    fit(decaying, batches, half, 10, progress=False, checkpoint=tmp_path / "c")
    fit(decaying, batches, resumed, 20, progress=False, checkpoint=tmp_path / "d")
    (tmp_path / "d").unlink()
    resumed = make()
    fit(decaying, batches, resumed, 20, progress=False, checkpoint=tmp_path / "c")
    assert same(whole, resumed)


def test_the_same_state_can_go_on_after_its_learning_rate_changed(tmp_path):
    def decaying(state, batch):
        state.optimizer.param_groups[0]["lr"] *= 0.9
        return step(state, batch)

    whole, parts = make(), make()
    fit(decaying, batches, whole, 30, progress=False)
    for steps in (10, 20, 30):
        fit(decaying, batches, parts, steps, progress=False, checkpoint=tmp_path / "c")
    assert same(whole, parts)
    fresh = make()  # and the settings at the very start still belong to the run
    fit(None, None, fresh, 30, progress=False, checkpoint=tmp_path / "c")
    assert same(whole, fresh)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 9}, r"its model is 0\.weight: .*\[8, 6\].*, here it is .*\[9, 6\]"),
        ({"seed": 6}, "its seed is 5, here it is 6"),
        ({"lr": 0.5}, r"its settings is lr: 0\.01, here it is 0\.5"),
        ({"optimizer": torch.optim.SGD}, "its optimizer is Adam, here it is SGD"),
        ({"history_every": 7}, "its history_every is 100, here it is 7"),
        ({"steps": 5}, "10 steps done, but steps=5"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_nothing_changed(tmp_path, change, message):
    path = tmp_path / "c"
    fit(step, batches, make(), 10, checkpoint=path, progress=False)
    kept = path.read_bytes()
    change = dict(change)
    own = {k: change.pop(k) for k in ("history_every", "steps") if k in change}
    other, untouched = make(**change), make(**change)
    arguments = {"steps": 20, "history_every": 100} | own
    with pytest.raises(ValueError, match=message) as caught:
        fit(step, batches, other, checkpoint=path, progress=False, **arguments)
    assert str(path) in str(caught.value)
    assert same(other, untouched)
    assert path.read_bytes() == kept


@pytest.mark.parametrize("first", ["cpu", "cuda"])
def test_a_checkpoint_of_another_kind_of_device_is_refused_and_nothing_changed(tmp_path, first):
    def on(device):
        state = make()
        state.model.to(device)
        state.generator = torch.Generator(device).manual_seed(5)
        return state

    def on_device(state, batch):
        batch = batch.to(state.generator.device)
        noise = torch.randn(batch.shape, generator=state.generator, device=batch.device)
        loss = ((state.model(batch + noise) - batch) ** 2).mean()
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        return {"loss": loss.detach()}

    path = tmp_path / "fit.safetensors"
    with pretended_device():
        fit(on_device, batches, on(first), 3, checkpoint=path, progress=False)
        fit(on_device, batches, on(first), 5, checkpoint=path, progress=False)
        other = on({"cpu": "cuda", "cuda": "cpu"}[first])
        before = copy.deepcopy(other.model.state_dict()), other.generator.get_state()
        with pytest.raises(ValueError, match="another kind of device"):
            fit(on_device, batches, other, 6, checkpoint=path, progress=False)
        after = other.model.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before[0].items())
        assert torch.equal(before[1], other.generator.get_state())


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c"
    fit(step, batches, make(), 10, checkpoint=path, progress=False)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"/c is damaged"):
        fit(step, batches, make(), 20, checkpoint=path, progress=False)
    checkpoint.save(path, {"weights": torch.ones(3)})
    with pytest.raises(ValueError, match=r"/c is no checkpoint of fit"):
        fit(step, batches, make(), 20, checkpoint=path, progress=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_not_finite_is_named_and_never_saved(tmp_path, value):
    path = tmp_path / "c"
    calls = []

    def bad(state, batch):
        terms = step(state, batch)
        calls.append(1)
        return terms | {"kl": torch.tensor(value if len(calls) == 14 else 1.0)}

    with pytest.raises(FloatingPointError, match=rf"'kl' is {value} at step 13 \(counted from 0\)"):
        fit(bad, batches, make(), 100, history_every=10, progress=False, checkpoint=path)
    assert len(calls) == 20  # found at the end of its window
    assert not path.exists()
    calls.clear()
    with pytest.raises(FloatingPointError, match="at step 13 "):
        fit(bad, batches, make(), 100, checkpoint_seconds=0, progress=False, checkpoint=path)
    assert checkpoint.load(path)["step"] == 13
    calls.clear()
    with pytest.raises(FloatingPointError, match="at step 13 "):
        fit(bad, batches, make(), 14, progress=False)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"loss": torch.ones(3)}, r"'loss' as \(3,\), not as a 0-d tensor"),
        ({"loss": 1.0}, "'loss' as float"),
        ({}, "at least one"),
    ],
)
def test_a_step_must_return_named_scalars(terms, message):
    with pytest.raises(ValueError, match=message):
        fit(lambda state, batch: terms, batches, make(), 3, progress=False)


def test_a_step_must_keep_its_terms():
    names = iter("aab")
    with pytest.raises(ValueError, match=r"\['b'\]; want the same at each step.*\['a'\]"):
        fit(lambda *_: {next(names): torch.zeros(())}, batches, make(), 3, progress=False)


@pytest.mark.parametrize("bad", [{"steps": -1}, {"history_every": 0}, {"checkpoint_seconds": -1.0}])
def test_arguments_are_checked(bad):
    arguments = {"steps": 3} | bad
    with pytest.raises(ValueError, match="want steps >= 0"):
        fit(step, batches, make(), progress=False, **arguments)


def test_progress_shows_description_count_and_terms(capfd):
    fit(step, batches, make(), 20, description="VAE2", history_every=10)
    shown = capfd.readouterr().err
    assert "VAE2: 100%" in shown
    assert "20/20" in shown
    assert "loss=" in shown
    fit(step, batches, make(), 20, progress=False)
    assert capfd.readouterr().err == ""


def test_a_log_file_gets_few_lines(capfd):
    fit(step, batches, make(), 500, description="VAE2")
    lines = capfd.readouterr().err.split("\n")
    assert len([line for line in lines if "VAE2" in line]) <= 3
    assert len(lines) <= 5


KILLS, STEPS, PAUSE = 20, 1500, 0.004


def train_slowly(path, started):
    """In a child that is going to be killed: a step takes PAUSE seconds at least, and is saved."""
    torch.set_num_threads(1)
    calls = []

    def slow(state, batch):
        calls.append(1)
        if len(calls) == 2:
            started.set()
        time.sleep(PAUSE)
        return step(state, batch)

    fit(slow, batches, make(), STEPS, checkpoint=path, checkpoint_seconds=PAUSE, progress=False)


def saved_step(path):
    return checkpoint.load(path)["step"] if path.exists() else 0


def half_written(folder):
    return any(name.endswith(".tmp") for name in os.listdir(folder))


def test_twenty_kills_change_nothing(tmp_path):
    path = tmp_path / "run" / "c"
    path.parent.mkdir()
    context = multiprocessing.get_context("forkserver")
    # torch._dynamo is what an optimiser's first step imports.
    context.set_forkserver_preload(["torch._dynamo", "safetensors.torch", "tqdm", "pytest"])
    moments = random.Random(20)
    progress, left, longest = [0], 0, 0.0
    for kill in range(KILLS):
        started = context.Event()
        child = context.Process(target=train_slowly, args=(path, started))
        child.start()
        if kill % 5 == 4:  # anywhere, while it starts or loads, too
            delay = moments.uniform(0, 0.4)
        else:
            assert started.wait(60)
            delay = moments.uniform(0, 0.15)
        longest += (0.4 if kill % 5 == 4 else 0.15) + 0.02
        time.sleep(delay)
        if kill % 2:  # every second one during the write of a checkpoint, if there is one soon
            soon = time.monotonic() + 0.05
            longest += 0.05
            while time.monotonic() < soon and not half_written(path.parent):
                pass
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        progress.append(saved_step(path))  # what stands there is whole after every kill
        left += half_written(path.parent)
    # Steps take PAUSE at least, so that on no machine the run is over before the last kill.
    assert longest < STEPS * PAUSE
    assert progress == sorted(progress)
    assert progress[-1] < STEPS
    advanced = sum(after > before for before, after in itertools.pairwise(progress))
    assert advanced >= KILLS - 4, progress
    print(f"steps saved at each kill: {progress[1:]}; {left} kills left a half-written file")

    whole, resumed = make(), make()
    expected = fit(step, batches, whole, STEPS, progress=False)
    history = fit(step, batches, resumed, STEPS, checkpoint=path, progress=False)
    assert same(whole, resumed)
    assert same_history(expected, history)
    assert os.listdir(path.parent) == ["c"]
