import json
import math
import re

import numpy as np
import pytest
import torch
from ipywidgets import embed
from torch.distributions import MultivariateNormal
from traitlets import TraitError

from dgm.papers.mutual_information_lm import (
    donsker_varadhan,
    info_nce,
    jensen_shannon_loss,
    nwj,
    raml_weights,
)
from dgm_book.widgets import BoundRace, RamlLottery, bound_race

DICE = np.random.default_rng(0)
SCORES = {name: DICE.normal(0, 2, (2, 7)) for name in ("phase I", "likelihood")}


def text(name="chain", **changes):
    made = {"name": name, "label": name.title(), "anchors": [0, 4], "scores": SCORES}
    return made | {"texts": [f"sentence {i} of {name}" for i in range(14)]} | changes


def lottery(sets=None, **changes):
    return RamlLottery([text(), text("play")] if sets is None else sets, **changes)


def race(**changes):
    return BoundRace(**changes)


# What travels


@pytest.mark.parametrize("widget", [BoundRace, RamlLottery])
def test_each_module_stands_alone(widget):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
        re.MULTILINE,
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]


def test_both_together_are_small():
    rows = {name: DICE.normal(size=(6, 12)) for name in SCORES}
    large = [
        text(name, texts=["x" * 60] * 40, anchors=range(6), scores=rows) for name in ("a", "b")
    ]
    state = embed.dependency_state([race(), lottery(large)], drop_defaults=False)
    shared = len(BoundRace._css) + len(RamlLottery._css)
    assert len(json.dumps(state, allow_nan=False)) - shared < 70_000


@pytest.mark.parametrize("make", [race, lottery])
def test_the_mimebundle_has_a_small_poster_and_a_stable_text(make, mimebundle):
    mimebundle(make, 60_000)


# The race

SETTINGS = [(0.9, 1, 64), (0.0, 3, 16), (0.5, 20, 2), (0.99, 20, 32), (0.8, 5, 256)]


@pytest.mark.parametrize(("rho", "d", "n"), SETTINGS)
def test_scores_are_the_log_density_ratio(rho, d, n):
    widget = race(correlation=rho, dimension=d, batch=n)
    # The same draws once more, from the definition: of x alone, of y alone, of both.
    full = race(correlation=rho, dimension=d, batch=256).scores(3)
    np.testing.assert_array_equal(widget.scores(3), full[:n, :n])
    x, noise = torch.from_numpy(bound_race._normals(3)[:, :n, :d])
    y = rho * x + math.sqrt(1 - rho**2) * noise
    alone = MultivariateNormal(torch.zeros(1).double(), torch.eye(1).double())
    both = MultivariateNormal(
        torch.zeros(2).double(), torch.tensor([[1, rho], [rho, 1]], dtype=torch.float64)
    )
    pairs = torch.stack(torch.broadcast_tensors(x[:, None], y[None]), -1)
    margins = [alone.log_prob(pairs[..., i, None]).sum(-1) for i in (0, 1)]
    wanted = both.log_prob(pairs).sum(-1) - margins[0] - margins[1]
    np.testing.assert_allclose(widget.scores(3), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("rho", "d", "n"), SETTINGS)
def test_estimates_are_those_of_the_papers_functions(rho, d, n):
    widget = race(correlation=rho, dimension=d, batch=n, seed=5)
    found = widget.estimates()
    assert [len(v) for v in found.values()] == [24] * 4
    for b in (0, 11, 23):
        scores = torch.from_numpy(widget.scores(b))
        joint, product = scores.diagonal(), scores[~torch.eye(n, dtype=torch.bool)]
        wanted = {
            "donsker_varadhan": donsker_varadhan(joint, product),
            "nwj": nwj(joint + 1, product + 1),
            "info_nce": info_nce(scores),
            "jensen_shannon": math.log(2) - jensen_shannon_loss(joint, product) / 2,
        }
        for name, value in wanted.items():
            assert found[name][b] == pytest.approx(float(value), rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize(("rho", "d", "n"), SETTINGS)
def test_no_estimate_passes_its_ceiling_and_nwj_is_below_donsker_varadhan(rho, d, n):
    widget = race(correlation=rho, dimension=d, batch=n)
    found = widget.estimates()
    for name, limit in widget.ceilings.items():
        assert (found[name] <= limit + 1e-12).all(), name
    assert (found["nwj"] <= found["donsker_varadhan"] + 1e-9).all()
    if rho == 0:
        assert widget.exact == 0
        for values in found.values():
            np.testing.assert_allclose(values, 0, atol=1e-12)


def test_means_are_those_of_the_specification():
    """Exact values and quadrature where there are any, else what 400 batches gave."""
    for d, n, wanted in [(1, 4, 0.55), (1, 64, 0.809), (5, 16, 2.451)]:
        values = np.concatenate(
            [race(dimension=d, batch=n, seed=s).estimates()["info_nce"] for s in range(4)]
        )
        assert values.mean() == pytest.approx(wanted, abs=4 * values.std() / 96**0.5 + 0.018)
    small = [race(batch=4, seed=s).estimates() for s in range(20)]
    small = {name: np.concatenate([one[name] for one in small]) for name in small[0]}
    wanted = {"nwj": 0.830366, "jensen_shannon": 0.21455}
    for name, value in wanted.items():
        error = small[name].std() / 480**0.5
        assert error < 0.05
        assert small[name].mean() == pytest.approx(value, abs=4 * error)
    high = small["donsker_varadhan"]
    assert high.mean() > 0.830366 + 3 * high.std() / 480**0.5  # over the log of a small mean


@pytest.mark.parametrize(
    ("rho", "d", "wanted"),
    [(0.3, 1, 0.04716), (0.5, 1, 0.14384), (0.95, 1, 1.16395), (0.99, 1, 1.95852), (0.9, 5, 4.1518)],
)  # fmt: skip
def test_the_exact_value(rho, d, wanted):
    assert race(correlation=rho, dimension=d).exact == pytest.approx(wanted, abs=5e-5)


def test_draws_are_normal_and_another_seed_draws_others():
    draws = np.stack([bound_race._normals(b) for b in range(24)])
    assert draws.mean() == pytest.approx(0, abs=4 / draws.size**0.5)
    assert draws.var() == pytest.approx(1, abs=4 * (2 / draws.size) ** 0.5)
    assert (draws**4).mean() == pytest.approx(3, abs=4 * (96 / draws.size) ** 0.5)
    rows = draws.reshape(24, -1)
    far = np.corrcoef(rows) - np.eye(24)
    assert np.abs(far).max() < 5 / rows.shape[1] ** 0.5
    last = bound_race._normals(24 * 9999 + 23)  # still short of the generator's period
    assert len(np.intersect1d(last, draws)) == 0
    np.testing.assert_array_equal(race(seed=1).scores(0), race(seed=1).scores(0))
    assert (race(seed=1).scores(0) != race(seed=0).scores(0)).all()


def test_the_race_keeps_what_the_page_sets():
    widget = race()
    assert (widget.correlation, widget.dimension, widget.batch, widget.seed) == (0.9, 1, 64, 0)
    chosen = {"correlation": 0.25, "dimension": 7, "batch": 2, "seed": 9999}
    widget.set_state(chosen)
    assert {name: getattr(widget, name) for name in chosen} == chosen


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("correlation", -0.1),
        ("correlation", 1.0),
        ("correlation", np.nan),
        ("dimension", 0),
        ("dimension", 21),
        ("batch", 1),
        ("batch", 48),
        ("batch", 512),
        ("seed", -1),
        ("seed", 10_000),
    ],
)
def test_a_race_out_of_range_is_refused(name, value):
    widget = race()
    before = getattr(widget, name)
    with pytest.raises((ValueError, TraitError), match=name):
        setattr(widget, name, value)
    assert getattr(widget, name) == before
    with pytest.raises((ValueError, TraitError), match=name):
        race(**{name: value})


# The lottery


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("critic", ["phase I", "likelihood", ""])
def test_weights_are_those_of_equation_10(p, temperature, critic):
    widget = lottery(p=p, temperature=temperature)
    widget.critic, widget.anchor = critic, 1
    scores = torch.from_numpy(SCORES[critic][1] if critic else np.zeros(7))
    k = torch.arange(7, dtype=torch.float64)
    log_prob = torch.log(p * (1 - p) ** k)
    wanted = raml_weights(scores, scores[0].expand(7), log_prob, temperature)
    np.testing.assert_allclose(widget.weights(), wanted, rtol=1e-4, atol=1e-12)
    assert widget.weights().sum() == pytest.approx(1)
    # Drawing and weighing cancel: on average only the critic is left.
    average = torch.softmax(scores / temperature, 0)
    np.testing.assert_allclose(widget.shares(), average, rtol=1e-4, atol=1e-12)


def test_no_critic_weighs_by_one_over_the_chance():
    widget = lottery(p=0.5)
    widget.critic = ""
    np.testing.assert_allclose(widget.weights(), 2.0 ** np.arange(7) / 127)
    np.testing.assert_allclose(widget.shares(), np.full(7, 1 / 7))


def test_the_lottery_keeps_what_the_page_sets():
    widget = lottery(
        [text(), text("play", anchors=[5], scores={c: s[:1] for c, s in SCORES.items()})]
    )
    assert (widget.set, widget.anchor, widget.critic) == ("chain", 0, "phase I")
    assert (widget.p, widget.temperature) == (0.3, 1.0)
    chosen = {"anchor": 1, "critic": "", "p": 0.9, "temperature": 0.25}
    widget.set_state(chosen)
    assert {name: getattr(widget, name) for name in chosen} == chosen
    widget.set = "play"
    assert (widget.anchor, len(widget.scores())) == (0, 7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("set", "none"),
        ("anchor", -1),
        ("anchor", 2),
        ("critic", "none"),
        ("p", 0.01),
        ("p", 1.0),
        ("p", np.nan),
        ("temperature", 0.0),
        ("temperature", np.inf),
    ],
)
def test_a_lottery_out_of_range_is_refused(name, value):
    widget = lottery()
    before = getattr(widget, name)
    with pytest.raises((ValueError, TraitError), match=name):
        setattr(widget, name, value)
    assert getattr(widget, name) == before


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "at least one"),
        ([text(), text()], "each name once"),
        ([{"name": "a"}], r"'a' lacks \['anchors', 'label', 'scores', 'texts'\]"),
        ([text(anchors=[], scores={"c": []})], "at least one anchor"),
        ([text(scores={})], "one critic with a name"),
        ([text(scores={"": [[0, 1]] * 2})], "one critic with a name"),
        ([text(scores={"c": [[0, 1]]})], r"a row for each of 2 anchors.*got \[2\]"),
        ([text(scores={"c": [[0, 1]] * 2, "d": [[0, 1, 2]] * 2})], "as long for every critic"),
        ([text(scores={"c": [[0], [0]]})], "2 to 40 finite values"),
        ([text(scores={"c": [[0, np.nan]] * 2})], "finite values"),
        ([text(anchors=[0, 7])], "anchor 7 of set 'chain' has 7 scores, but its text has 14"),
        ([text(anchors=[-1, 0])], "anchor -1"),
        ([text(), text("b", scores={"c": [[0, 1]] * 2})], "the same critics"),
        ([text(texts=["x" * 20_000] * 14)], "at most 400 of 200,000"),
    ],
)
def test_a_bad_set_is_refused(sets, message):
    with pytest.raises(ValueError, match=message):
        lottery(sets)
