"""The training loop: history, measurements, refusals, and a killed run ends as if unkilled."""

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


def initial_state(seed=5, width=8, lr=1e-2, optimizer=torch.optim.Adam):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, 6)
    )
    generator = torch.Generator().manual_seed(seed)
    return TrainingState(model, optimizer(model.parameters(), lr=lr), generator)


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


def all_tensors(*trees):
    flat = [{} for _ in trees]
    texts = [
        checkpoint._flatten(tree, "", tensors) for tree, tensors in zip(trees, flat, strict=True)
    ]
    return texts, flat


def same(a, b):
    """Bit for bit: weights and buffers, optimiser, generator, measurements."""
    trees = [
        {
            "model": s.model.state_dict(),
            "optimizer": s.optimizer.state_dict(),
            "generator": s.generator.get_state(),
            "measurements": s.measurements,
            "terms": s.terms,
        }
        for s in (a, b)
    ]
    texts, (left, right) = all_tensors(*trees)
    return texts[0] == texts[1] and all(torch.equal(left[k], right[k]) for k in left)


def same_history(a, b):
    texts, (left, right) = all_tensors(a, b)
    return texts[0] == texts[1] and all(torch.equal(left[k], right[k]) for k in left)


def test_history_holds_the_means_of_each_window():
    terms = []

    def recording(state, batch):
        terms.append({k: v.item() for k, v in step(state, batch).items()})
        return {k: torch.tensor(v) for k, v in terms[-1].items()}

    history = fit(recording, batches, initial_state(), 25, history_every=10, progress=False)
    assert history.steps.tolist() == [10, 20, 25]
    assert history.steps.dtype == torch.int64
    assert list(history.terms) == ["loss", "noise"]
    for name, values in history.terms.items():
        assert values.dtype == torch.float64
        for k, window in enumerate([terms[:10], terms[10:20], terms[20:]]):
            expected = sum(row[name] for row in window) / len(window)
            assert values[k].item() == pytest.approx(expected, 1e-12)


def test_training_trains_and_repeats():
    first, second, other = initial_state(), initial_state(), initial_state(seed=6)
    history = fit(step, batches, first, 300, progress=False)
    fit(step, batches, second, 300, progress=False)
    fit(step, batches, other, 300, progress=False)
    assert history.terms["loss"][-1] < 0.7 * history.terms["loss"][0]
    assert same(first, second)
    assert not same(first, other)


def test_no_steps_give_an_empty_history(tmp_path):
    history = fit(step, batches, initial_state(), 0, progress=False, checkpoint=tmp_path / "c")
    assert history.steps.shape == (0,)


class StoppedError(Exception):
    pass


MEASURED = {"measure": measure, "measure_every": 12, "keep_best": "error"}


@pytest.mark.parametrize("stop", [1, 9, 10, 12, 37, 49])
@pytest.mark.parametrize("measured", [{}, MEASURED], ids=["plain", "measured"])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, stop, measured, optimizer):
    asked = []

    def stopping(i):
        if len(asked) == stop:
            raise StoppedError
        asked.append(i)
        return batches(i)

    def going_on(i):
        asked.append(i)
        return batches(i)

    whole, part, resumed = (initial_state(optimizer=optimizer) for _ in range(3))
    expected = fit(decaying, batches, whole, 50, history_every=10, progress=False, **measured)
    arguments = {"checkpoint": tmp_path / "c", "history_every": 10, "progress": False, **measured}
    with pytest.raises(StoppedError):
        fit(decaying, stopping, part, 50, checkpoint_seconds=0, **arguments)
    history = fit(decaying, going_on, resumed, 50, **arguments)
    assert asked == list(range(50))
    assert same(whole, resumed)
    assert same_history(expected, history)


def test_moments_keep_the_layout_of_their_parameters(tmp_path):
    """Fused steps on a CPU pair weights and moments by place, so that a plain copy goes wrong."""

    def train(stops):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))

        def step(state, _):
            state.optimizer.zero_grad()
            loss = state.model(x.contiguous(memory_format=torch.channels_last)).square().mean()
            loss.backward()
            state.optimizer.step()
            return {"loss": loss}

        for steps in stops:
            optimizer = torch.optim.Adam(model.parameters(), 0.1, fused=True)
            state = TrainingState(model, optimizer, torch.Generator().manual_seed(2))
            fit(step, lambda i: i, state, steps, checkpoint=tmp_path / str(stops), progress=False)
        return model.weight.detach().clone()

    assert torch.equal(train([2, 4, 6]), train([6]))


@pytest.mark.parametrize("measured", [{}, MEASURED], ids=["plain", "measured"])
def test_a_finished_run_is_not_run_again(tmp_path, measured):
    arguments = {"checkpoint": tmp_path / "c", "history_every": 10, "progress": False, **measured}
    first, repeated = initial_state(), initial_state()
    history = fit(decaying, batches, first, 25, **arguments)
    assert history.steps.tolist() == [10, 20, 25]
    assert same_history(fit(None, None, repeated, 25, **arguments), history)
    assert same(first, repeated)


def test_the_same_state_can_go_on_after_its_learning_rate_changed(tmp_path):
    whole, parts = initial_state(), initial_state()
    fit(decaying, batches, whole, 30, progress=False)
    for steps in (10, 20, 30):
        fit(decaying, batches, parts, steps, progress=False, checkpoint=tmp_path / "c")
    assert same(whole, parts)
    fresh = initial_state()  # and the settings at the very start still belong to the run
    fit(None, None, fresh, 30, progress=False, checkpoint=tmp_path / "c")
    assert same(whole, fresh)


def test_measuring_equals_training_in_sections_and_measuring_between_them():
    sections, whole = initial_state(), initial_state()
    rows = []

    def section_step(state, batch):
        for group in state.optimizer.param_groups:
            group["lr"] = 1e-2 * 0.5 ** len(rows)
        return step(state, batch)

    for first, last in itertools.pairwise([0, 20, 40, 50]):
        if not rows:
            rows.append({"step": 0, "term": None, **measure(sections)})
        history = fit(
            section_step,
            lambda i, first=first: batches(first + i),
            sections,
            last - first,
            history_every=20,
            progress=False,
        )
        rows.append({"step": last, "term": history.terms["loss"][-1].item(), **measure(sections)})

    def whole_step(state, batch):
        for group in state.optimizer.param_groups:
            group["lr"] = 1e-2 * 0.5 ** len(state.measurements)
        return step(state, batch)

    history = fit(
        whole_step,
        batches,
        whole,
        50,
        history_every=20,
        progress=False,
        measure=lambda state: {"term": state.terms.get("loss"), **measure(state)},
        measure_every=[0, 20, 40, 50],
    )
    sections.measurements, sections.terms = rows, whole.terms
    assert same(whole, sections)
    assert same_history(history, history._replace(measurements=rows))


@pytest.mark.parametrize(
    ("every", "expected"),
    [(10, [10, 20, 25]), (25, [25]), (40, [25]), ([5, 0, 7], [0, 5, 7]), (None, [25])],
)
def test_measured_are_these_steps(every, expected):
    history = fit(
        step, batches, initial_state(), 25, progress=False, measure=measure, measure_every=every
    )
    assert [row["step"] for row in history.measurements] == expected


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
    arguments |= {"measure": valued, "measure_every": range(10, 51, 10), "progress": False}
    state, repeated, last = (initial_state() for _ in range(3))
    fit(step, batches, state, 53, **arguments)
    fit(None, None, repeated, 53, **arguments)
    fit(step, batches, last, 53, progress=False)
    weights.append(last.model.state_dict())
    for name, value in weights[chosen - 1].items():
        assert torch.equal(state.model.state_dict()[name], value)
        assert torch.equal(repeated.model.state_dict()[name], value)


@pytest.mark.parametrize("failure", ["step", "measure"])
def test_a_run_that_fails_has_its_best_weights_and_fails_so_again(tmp_path, failure):
    def failing(state, batch):
        terms = step(state, batch)
        return terms | {"kl": torch.tensor(float("nan") if state.steps == 33 else 1.0)}

    def collapsing(state):
        if failure == "measure" and state.steps == 30:
            raise StoppedError
        return measure(state)

    last = 20 if failure == "measure" else 30
    expected = initial_state()
    fit(step, batches, expected, last, progress=False)
    error = {"step": FloatingPointError, "measure": StoppedError}[failure]
    for _ in range(2):
        state = initial_state()
        with pytest.raises(error):
            fit(
                failing,
                batches,
                state,
                100,
                checkpoint=tmp_path / "c",
                progress=False,
                measure=collapsing,
                measure_every=10,
                keep_best="step",
                best="highest",
            )
        assert [row["step"] for row in state.measurements] == list(range(10, last + 1, 10))
        for name, value in expected.model.named_parameters():
            assert torch.equal(state.model.get_parameter(name), value)


def test_training_seconds_do_not_include_measuring(tmp_path):
    def slow(state):
        began = time.process_time()
        while time.process_time() < began + 0.3:
            pass
        return {"seconds": state.seconds}

    arguments = {"measure": slow, "measure_every": 5, "progress": False}
    history = fit(step, batches, initial_state(), 20, checkpoint=tmp_path / "c", **arguments)
    seconds = [row["seconds"] for row in history.measurements]
    assert 0 < seconds[0] < seconds[1] < seconds[2] < seconds[3]
    assert seconds[3] - seconds[0] < 0.6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 9}, r"its model is 0\.weight: .*\[8, 6\].*, here it is .*\[9, 6\]"),
        ({"seed": 6}, "its seed is 5, here it is 6"),
        ({"lr": 0.5}, r"its settings is lr: 0\.01, here it is 0\.5"),
        ({"optimizer": torch.optim.SGD}, "its optimizer is Adam, here it is SGD"),
        ({"history_every": 7}, "its history_every is 100, here it is 7"),
        ({"measure_every": 5}, r"its measured at is \[3, 6, 9, 10\], here it is \[5, 10\]"),
        ({"steps": 30}, r"its measured at is \[3, 6, 9, 10\], here it is \[3, 6, 9\]"),
        ({"best": "highest"}, r"its best is \['error', 'lowest'\], here it is"),
        ({"steps": 5, "measure_every": [3, 5]}, "its measured at"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_nothing_changed(tmp_path, change, message):
    path = tmp_path / "c"
    arguments = {"checkpoint": path, "steps": 10, "progress": False} | MEASURED
    arguments |= {"measure_every": 3}
    fit(step, batches, initial_state(), **arguments)
    data = path.read_bytes()
    own = {k: v for k, v in change.items() if k in ("width", "seed", "lr", "optimizer")}
    arguments |= {k: v for k, v in change.items() if k not in own}
    other, untouched = initial_state(**own), initial_state(**own)
    with pytest.raises(ValueError, match=message) as caught:
        fit(step, batches, other, **arguments)
    assert str(path) in str(caught.value)
    assert same(other, untouched)
    assert path.read_bytes() == data


@pytest.mark.parametrize("first", ["cpu", "cuda"])
def test_a_checkpoint_of_another_kind_of_device_is_refused_and_nothing_changed(tmp_path, first):
    def state_on(device):
        state = initial_state()
        state.model.to(device)
        state.generator = torch.Generator(device).manual_seed(5)
        return state

    def step_on_device(state, batch):
        return step(state, batch.to(state.generator.device))

    arguments = {"checkpoint": tmp_path / "fit.safetensors", "progress": False}
    with pretended_device():
        fit(step_on_device, batches, state_on(first), 3, **arguments)
        fit(step_on_device, batches, state_on(first), 5, **arguments)
        other = state_on({"cpu": "cuda", "cuda": "cpu"}[first])
        weights, noise = copy.deepcopy(other.model.state_dict()), other.generator.get_state()
        with pytest.raises(ValueError, match="another kind of device"):
            fit(step_on_device, batches, other, 6, **arguments)
        after = other.model.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in weights.items())
        assert torch.equal(noise, other.generator.get_state())


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c"
    fit(step, batches, initial_state(), 10, checkpoint=path, progress=False)
    with pytest.raises(ValueError, match="10 steps done, but steps=5"):
        fit(step, batches, initial_state(), 5, checkpoint=path, progress=False)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"/c is damaged"):
        fit(step, batches, initial_state(), 20, checkpoint=path, progress=False)
    checkpoint.save(path, {"weights": torch.ones(3)})
    with pytest.raises(ValueError, match=r"/c is no checkpoint of fit"):
        fit(step, batches, initial_state(), 20, checkpoint=path, progress=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_not_finite_is_named_and_never_saved(tmp_path, value):
    path = tmp_path / "c"

    def bad(state, batch):
        return step(state, batch) | {"kl": torch.tensor(value if state.steps == 13 else 1.0)}

    message = rf"'kl' is {value} at step 13 \(counted from 0\)"
    state = initial_state()
    with pytest.raises(FloatingPointError, match=message):
        fit(bad, batches, state, 100, history_every=10, progress=False, checkpoint=path)
    assert state.steps == 20  # noticed at the end of its window
    assert not path.exists()
    with pytest.raises(FloatingPointError, match=message):
        fit(
            bad,
            batches,
            initial_state(),
            100,
            checkpoint_seconds=0,
            progress=False,
            checkpoint=path,
        )
    assert checkpoint.load(path)["step"] == 13
    with pytest.raises(FloatingPointError, match=message):
        fit(bad, batches, initial_state(), 14, progress=False)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([{"loss": torch.ones(3)}], r"'loss' as \(3,\), not as a 0-d tensor"),
        ([{"loss": 1.0}], "'loss' as float"),
        ([{}], "at least one"),
        (
            [{"a": torch.zeros(())}, {"b": torch.zeros(())}],
            r"\['b'\]; want the same at each step.*\['a'\]",
        ),
    ],
)
def test_a_step_must_return_the_same_named_scalars(terms, message):
    with pytest.raises(ValueError, match=message):
        fit(lambda state, batch: terms[state.steps], batches, initial_state(), 3, progress=False)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"steps": -1}, "want steps >= 0"),
        ({"history_every": 0}, "want steps >= 0"),
        ({"checkpoint_seconds": -1.0}, "want steps >= 0"),
        ({"measure_every": 2}, "want a measure too"),
        ({"keep_best": "error"}, "want a measure too"),
        ({"measure": measure, "measure_every": 0}, "want 1 or more"),
        ({"measure": measure, "measure_every": [2, 4]}, "want numbers of steps from 0 to 3"),
        ({"measure": measure, "keep_best": "mistake"}, "measured were step, error, codes"),
        ({"measure": measure, "keep_best": "error", "best": "least"}, "want 'lowest' or 'highest'"),
    ],
)
def test_arguments_are_checked(bad, message):
    arguments = {"steps": 3} | bad
    with pytest.raises(ValueError, match=message):
        fit(step, batches, initial_state(), progress=False, **arguments)


def test_progress_shows_description_count_and_terms(capfd):
    fit(step, batches, initial_state(), 20, description="VAE2", history_every=10)
    shown = capfd.readouterr().err
    assert "VAE2: 100%" in shown
    assert "20/20" in shown
    assert "loss=" in shown
    fit(step, batches, initial_state(), 20, progress=False)
    assert capfd.readouterr().err == ""


KILLS, STEPS, PAUSE = 20, 1500, 0.004
ARGUMENTS = {**MEASURED, "measure_every": 40, "progress": False}


def train_slowly(path, started):
    """In a child that is going to be killed: a step takes PAUSE seconds at least, and is saved."""
    torch.set_num_threads(1)
    calls = itertools.count(1)

    def slow(state, batch):
        if next(calls) == 2:
            started.set()
        time.sleep(PAUSE)
        return decaying(state, batch)

    state = initial_state()
    fit(slow, batches, state, STEPS, checkpoint=path, checkpoint_seconds=PAUSE, **ARGUMENTS)


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

    whole, resumed = initial_state(), initial_state()
    expected = fit(decaying, batches, whole, STEPS, **ARGUMENTS)
    history = fit(decaying, batches, resumed, STEPS, checkpoint=path, **ARGUMENTS)
    assert same(whole, resumed)
    assert same_history(expected, history)
    assert os.listdir(path.parent) == ["c"]
