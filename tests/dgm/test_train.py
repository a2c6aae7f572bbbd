"""The training loop: history, measurements, refusals, and a killed run ends as if unkilled."""

import copy
import multiprocessing
import random
import signal
import time

import pytest
import torch
from checks import refuses
from draws import rng
from pretended_device import pretended_device
from torch import nn

from dgm import checkpoint
from dgm.data import minibatches
from dgm.train import TrainingState, fit

X = torch.rand(64, 6, generator=rng(3))
ORDER = minibatches(64, 16, seed=1)


def batches(i):
    return X[ORDER(i)]


def initial_state(seed=5, width=8, lr=1e-2, optimizer=torch.optim.Adam):
    torch.manual_seed(0)
    layers = nn.Linear(6, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, 6)
    model = nn.Sequential(*layers)
    return TrainingState(model, optimizer(model.parameters(), lr=lr), rng(seed))


def step(state, batch):
    noise = torch.randn(batch.shape, generator=state.generator, device=batch.device)
    loss = ((state.model(batch + 0.1 * noise) - batch) ** 2).mean()
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    return {"loss": loss, "noise": noise.abs().mean()}


def decaying(state, batch):
    """Lowers the learning rate with each measurement, and a little with each step."""
    for group in state.optimizer.param_groups:
        group["lr"] = 1e-2 * 0.8 ** len(state.measurements) * (1 - state.steps / 5000)
    return step(state, batch)


@torch.no_grad()
def measure(state):
    return {"error": float((state.model(X) - X).square().mean()), "codes": state.model(X)[:2]}


def train(state, steps, step=step, batches=batches, **options):
    return fit(step, batches, state, steps, progress=False, **options)


def tree(state):
    """Bit for bit: weights and buffers, optimiser, generator, measurements."""
    parts = state.model.state_dict(), state.optimizer.state_dict(), state.generator.get_state()
    return checkpoint.to_bytes([*parts, state.terms, state.measurements])


def same(a, b):
    return tree(a) == tree(b)


def same_history(a, b):
    return checkpoint.to_bytes(a) == checkpoint.to_bytes(b)


def same_weights(model, weights):
    return all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_history_holds_the_means_of_each_window():
    rows = []

    def recording(state, batch):
        rows.append(step(state, batch))
        return rows[-1]

    history = train(initial_state(), 25, recording, history_every=10)
    assert history.steps.tolist() == [10, 20, 25]
    assert history.steps.dtype == torch.int64
    for name, values in history.terms.items():
        assert values.dtype == torch.float64
        windows = [rows[:10], rows[10:20], rows[20:]]
        expected = [sum(float(row[name]) for row in part) / len(part) for part in windows]
        assert values.tolist() == pytest.approx(expected, 1e-12)
    assert list(history.terms) == ["loss", "noise"]
    assert train(initial_state(), 0).steps.shape == (0,)


def test_training_trains_and_repeats():
    first, second, other = initial_state(), initial_state(), initial_state(seed=6)
    history, *_ = (train(state, 300) for state in (first, second, other))
    assert history.terms["loss"][-1] < 0.7 * history.terms["loss"][0]
    assert same(first, second)
    assert not same(first, other)


class StoppedError(Exception):
    pass


MEASURED = {"measure": measure, "measure_every": 12, "keep_best": "error"}


@pytest.mark.parametrize("stop", [1, 9, 10, 12, 37, 49])
@pytest.mark.parametrize("measured", [{}, MEASURED], ids=["plain", "measured"])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, stop, measured, optimizer):
    asked = []

    def until_stop(i):
        if len(asked) == stop and resumed.steps == 0:
            raise StoppedError
        asked.append(i)
        return batches(i)

    whole, part, resumed = (initial_state(optimizer=optimizer) for _ in range(3))
    expected = train(whole, 50, decaying, history_every=10, **measured)
    arguments = {"checkpoint": tmp_path / "c", "history_every": 10, **measured}
    with pytest.raises(StoppedError):
        train(part, 50, decaying, until_stop, checkpoint_seconds=0, **arguments)
    history = train(resumed, 50, decaying, until_stop, **arguments)
    assert asked == list(range(50))
    assert same(whole, resumed)
    assert same_history(expected, history)


def test_moments_keep_the_layout_of_their_parameters(tmp_path):
    """Fused steps on a CPU pair weights and moments by place, so that a plain copy goes wrong."""

    def train(stops):
        torch.manual_seed(0)
        model = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        x = torch.randn(2, 3, 6, 6, generator=rng(1))

        def step(state, _):
            state.optimizer.zero_grad()
            loss = state.model(x.contiguous(memory_format=torch.channels_last)).square().mean()
            loss.backward()
            state.optimizer.step()
            return {"loss": loss}

        for steps in stops:
            optimizer = torch.optim.Adam(model.parameters(), 0.1, fused=True)
            state = TrainingState(model, optimizer, rng(2))
            fit(step, lambda i: i, state, steps, checkpoint=tmp_path / str(stops), progress=False)
        return model.weight.detach().clone()

    assert torch.equal(train([2, 4, 6]), train([6]))


def test_the_same_state_can_go_on_after_its_learning_rate_changed(tmp_path):
    whole, parts, fresh = (initial_state() for _ in range(3))
    train(whole, 30, decaying)
    for steps in (10, 20, 30):
        train(parts, steps, decaying, checkpoint=tmp_path / "c")
    # The settings at the very start still belong to the run.
    train(fresh, 30, None, None, checkpoint=tmp_path / "c")
    assert tree(whole) == tree(parts) == tree(fresh)


@pytest.mark.parametrize(
    ("every", "expected"),
    [(10, [10, 20, 25]), (25, [25]), (40, [25]), ([5, 0, 7], [0, 5, 7]), (None, [25])],
)
def test_measured_are_these_steps_and_measuring_changes_no_training(every, expected):
    state, unmeasured = initial_state(), initial_state()

    def with_terms(state):
        return {"loss": state.terms.get("loss"), **measure(state)}

    arguments = {"measure": with_terms, "measure_every": every, "history_every": 5}
    history = train(state, 25, **arguments)
    assert [row["step"] for row in history.measurements] == expected
    assert same_history(history.terms, train(unmeasured, 25, history_every=5).terms)
    assert torch.equal(state.generator.get_state(), unmeasured.generator.get_state())
    for name, value in state.model.named_parameters():
        assert torch.equal(unmeasured.model.get_parameter(name), value)
    for row in history.measurements:
        if row["step"] % 5 == 0 and row["step"]:  # the mean of the window that ends there
            assert row["loss"] == history.terms["loss"][row["step"] // 5 - 1]


@pytest.mark.parametrize(
    ("keep_best", "best", "chosen"),
    [("value", "lowest", 2), ("value", "highest", 4), ("step", "highest", 5), (None, "lowest", 6)],
)
def test_the_weights_of_the_best_measurement_remain(tmp_path, keep_best, best, chosen):
    values, weights = iter([5.0, 1.0, 1.0, 9.0, 2.0]), []

    def valued(state):
        weights.append(copy.deepcopy(state.model.state_dict()))
        return {"value": next(values)}

    arguments = {"checkpoint": tmp_path / "c", "keep_best": keep_best, "best": best}
    arguments |= {"measure": valued, "measure_every": range(10, 51, 10)}
    state, repeated, last = (initial_state() for _ in range(3))
    train(state, 53, **arguments)
    train(repeated, 53, None, None, **arguments)
    train(last, 53)
    weights.append(last.model.state_dict())
    assert all(same_weights(x.model, weights[chosen - 1]) for x in (state, repeated))


@pytest.mark.parametrize(
    ("failure", "error", "last"), [("step", FloatingPointError, 30), ("measure", StoppedError, 20)]
)
def test_a_run_that_fails_has_its_best_weights_and_fails_so_again(tmp_path, failure, error, last):
    def failing(state, batch):
        return step(state, batch) | {"kl": torch.tensor(float("nan") if state.steps == 33 else 1.0)}

    def collapsing(state):
        if failure == "measure" and state.steps == 30:
            raise StoppedError
        return measure(state)

    expected = initial_state()
    train(expected, last)
    arguments = {"checkpoint": tmp_path / "c", "measure": collapsing, "measure_every": 10}
    for _ in range(2):
        state = initial_state()
        with pytest.raises(error):
            train(state, 100, failing, keep_best="step", best="highest", **arguments)
        assert [row["step"] for row in state.measurements] == list(range(10, last + 1, 10))
        for name, value in expected.model.named_parameters():
            assert torch.equal(state.model.get_parameter(name), value)


def test_training_seconds_do_not_include_measuring(tmp_path):
    def slow(state):
        began = time.process_time()
        while time.process_time() < began + 0.3:
            pass
        return {"seconds": state.seconds}

    arguments = {"measure": slow, "measure_every": 5}
    history = train(initial_state(), 20, checkpoint=tmp_path / "c", **arguments)
    seconds = [row["seconds"] for row in history.measurements]
    assert 0 < seconds[0] < seconds[1] < seconds[2] < seconds[3] < seconds[0] + 0.6


@pytest.mark.parametrize(
    ("own", "change", "message"),
    [
        ({"width": 9}, {}, r"its model is 0\.weight: .*\[8, 6\].*, here it is .*\[9, 6\]"),
        ({"seed": 6}, {}, "its seed is 5, here it is 6"),
        ({"lr": 0.5}, {}, r"its settings is lr: 0\.01, here it is 0\.5"),
        ({}, {"history_every": 7}, "its history_every is 100, here it is 7"),
        ({}, {"measure_every": 5}, r"its measured at is \[3, 6, 9, 10\], here it is \[5, 10\]"),
        ({}, {"best": "highest"}, r"its best is \['error', 'lowest'\], here it is"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_nothing_changed(tmp_path, own, change, message):
    path = tmp_path / "c"
    arguments = {"checkpoint": path, "steps": 10, **MEASURED, "measure_every": 3}
    train(initial_state(), **arguments)
    data = path.read_bytes()
    other, untouched = initial_state(**own), initial_state(**own)
    with pytest.raises(ValueError, match=message) as caught:
        train(other, **arguments | change)
    assert str(path) in str(caught.value)
    assert same(other, untouched)
    assert path.read_bytes() == data


@pytest.mark.parametrize("first", ["cpu", "cuda"])
def test_a_checkpoint_of_another_kind_of_device_is_refused_and_nothing_changed(tmp_path, first):
    def state_on(device):
        state = initial_state()
        state.model.to(device)
        state.generator = rng(5, device)
        return state

    def step_on_device(state, batch):
        return step(state, batch.to(state.generator.device))

    path = tmp_path / "fit.safetensors"
    with pretended_device():
        train(state_on(first), 3, step_on_device, checkpoint=path)
        train(state_on(first), 5, step_on_device, checkpoint=path)
        other = state_on({"cpu": "cuda", "cuda": "cpu"}[first])
        weights, noise = copy.deepcopy(other.model.state_dict()), other.generator.get_state()
        with pytest.raises(ValueError, match="another kind of device"):
            train(other, 6, step_on_device, checkpoint=path)
        assert same_weights(other.model, weights)
        assert torch.equal(noise, other.generator.get_state())


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c"
    train(initial_state(), 10, checkpoint=path)
    with pytest.raises(ValueError, match="10 steps done, but steps=5"):
        train(initial_state(), 5, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"/c is damaged"):
        train(initial_state(), 20, checkpoint=path)
    checkpoint.save(path, {"weights": torch.ones(3)})
    with pytest.raises(ValueError, match=r"/c is no checkpoint of fit"):
        train(initial_state(), 20, checkpoint=path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_not_finite_is_named_and_never_saved(tmp_path, value):
    path = tmp_path / "c"

    def bad(state, batch):
        return step(state, batch) | {"kl": torch.tensor(value if state.steps == 13 else 1.0)}

    def fails(steps, **options):
        state = initial_state()
        message = rf"'kl' is {value} at step 13 \(counted from 0\)"
        with pytest.raises(FloatingPointError, match=message):
            train(state, steps, bad, **options)
        return state

    assert fails(100, history_every=10, checkpoint=path).steps == 20  # at the end of its window
    assert not path.exists()
    fails(100, checkpoint_seconds=0, checkpoint=path)
    assert checkpoint.load(path)["step"] == 13
    fails(14)


test_a_step_must_return_the_same_named_scalars = refuses(
    {
        r"'loss' as \(3,\), not as a 0-d tensor": ({"loss": torch.ones(3)},),
        "'loss' as float": ({"loss": 1.0},),
        "at least one": ({},),
        r"\['b'\]; want the same at each step.*\['a'\]": ({"a": X.sum()}, {"b": X.sum()}),
    },
    lambda terms: train(initial_state(), 3, lambda state, batch: terms[state.steps]),
)


REFUSED = {
    "want steps >= 0": [{"steps": -1}, {"history_every": 0}, {"checkpoint_seconds": -1.0}],
    "want a measure too": [{"measure_every": 2}, {"keep_best": "error"}],
    "want 1 or more": {"measure": measure, "measure_every": 0},
    "want numbers of steps from 0 to 3": {"measure": measure, "measure_every": [2, 4]},
    "measured were step, error, codes": {"measure": measure, "keep_best": "mistake"},
    "want 'lowest' or 'highest'": {"measure": measure, "keep_best": "error", "best": "least"},
}
test_arguments_are_checked = refuses(REFUSED, lambda **a: train(initial_state(), **a), steps=3)


def test_progress_shows_description_count_and_terms(capfd):
    fit(step, batches, initial_state(), 20, description="VAE2", history_every=10)
    shown = capfd.readouterr().err
    assert all(part in shown for part in ("VAE2: 100%", "20/20", "loss="))
    train(initial_state(), 20)
    assert capfd.readouterr().err == ""


KILLS, STEPS, PAUSE = 20, 1600, 0.004
ARGUMENTS = {**MEASURED, "measure_every": 40}


def train_slowly(path, started):
    """In a child that is going to be killed: a step takes PAUSE seconds at least, and is saved."""
    torch.set_num_threads(1)

    def slow(state, batch):
        started.set()
        time.sleep(PAUSE)
        return decaying(state, batch)

    train(initial_state(), STEPS, slow, checkpoint=path, checkpoint_seconds=PAUSE, **ARGUMENTS)


def test_kills_change_nothing(tmp_path):
    path, moments, progress = tmp_path / "c", random.Random(20), [0]
    context = multiprocessing.get_context("forkserver")
    # torch._dynamo is what an optimiser's first step imports.
    context.set_forkserver_preload(["torch._dynamo", "safetensors.torch", "tqdm", "pytest"])
    for kill in range(KILLS):
        started = context.Event()
        child = context.Process(target=train_slowly, args=(path, started))
        child.start()
        anywhere = kill % 5 == 4  # while it starts or loads, too
        assert anywhere or started.wait(60)
        time.sleep(moments.uniform(0, 0.4 if anywhere else 0.15))
        soon = time.monotonic() + 0.05 * (kill % 2)  # every second one while a file is written
        while time.monotonic() < soon and not list(tmp_path.glob(".*.tmp")):
            pass
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        # What stands there is whole after every kill.
        progress.append(checkpoint.load(path)["step"] if path.exists() else 0)
    assert progress == sorted(progress)
    assert len(set(progress)) > KILLS // 2
    assert 0 < progress[-1] < STEPS  # steps take PAUSE at least, so that on no machine it is over
    whole, resumed = initial_state(), initial_state()
    expected = train(whole, STEPS, decaying, **ARGUMENTS)
    history = train(resumed, STEPS, decaying, checkpoint=path, **ARGUMENTS)
    assert same(whole, resumed)
    assert same_history(expected, history)
