import re

import numpy as np
import pytest
from ipywidgets import embed

from dgm_book.widgets import DamageLab

BETA = np.geomspace(0.01, 100, 13)
BLURS = (0, 0.5, 1, 2)


def linear(images=6, latent=3, seed=0):
    """The closed form of f(z) = s z under N(0, v I), with a distance to what f reaches that blur adds to."""
    r = np.random.default_rng(seed)
    gain, code = np.linspace(2, 1, latent), r.normal(size=(images, latent))
    beyond = r.uniform(1, 4, size=images)
    made = {f"{name}_{term}": [] for name in ("narrow", "wide") for term in ("log_z", "distortion")}
    for blur in BLURS:
        s, apart = gain / (1 + 0.2 * blur), beyond + blur
        for name, variance in (("narrow", 1), ("wide", 100)):
            a = 2 * BETA[:, None, None] * variance * s**2
            far = (gain * code) ** 2
            log_z = -0.5 * np.log1p(a) - BETA[:, None, None] * far / (1 + a)
            distortion = variance * s**2 / (1 + a) + far / (1 + a) ** 2
            made[f"{name}_log_z"].append(log_z.sum(2) - BETA[:, None] * apart)
            made[f"{name}_distortion"].append(distortion.sum(2) + apart)
    return {"beta": BETA, "blurs": BLURS, "likelihood_beta": 4.0} | made


def lab(**changes):
    return DamageLab(linear() | changes, "closed form", alpha=0.5)


def test_each_module_stands_alone_and_is_small():
    source = DamageLab._esm
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|https?://(?!www\.w3)", source, re.M
    )
    assert re.findall(r"^export .*", source, re.M) == ["export default { render };"]
    assert len(source.encode()) < 24_000


def test_no_damage_is_the_sound_curve():
    widget, told = lab(), linear()
    for blur in range(len(BLURS)):
        curve = widget.curve(0, blur)
        np.testing.assert_allclose(
            curve["log_z"], np.mean(told["narrow_log_z"][blur], 1), rtol=1e-6
        )
        np.testing.assert_allclose(
            curve["distortion"], np.mean(told["narrow_distortion"][blur], 1), rtol=1e-6
        )


@pytest.mark.parametrize("alpha", [0.01, 0.5, 0.9, 0.99])
def test_the_cap_holds_at_every_beta(alpha):
    widget, cap = lab(), -np.log1p(-alpha)
    for blur in range(len(BLURS)):
        sound, damaged = widget.curve(0, blur), widget.curve(alpha, blur)
        assert (sound["log_z"] - damaged["log_z"] <= cap + 1e-12).all()
        # And so at every distortion: the damaged curve's tangents stay beneath the raised curve.
        tangents = -damaged["log_z"][:, None] - BETA[:, None] * sound["distortion"]
        assert (tangents.max(0) <= sound["rate"] + cap + 1e-9).all()


def test_the_mixture_is_that_of_the_two_integrals():
    alpha, blur = 0.7, 2
    told = {
        key: np.asarray(value)[blur] for key, value in linear().items() if key.endswith(("z", "n"))
    }
    z = [(1 - alpha) * np.exp(told["narrow_log_z"]), alpha * np.exp(told["wide_log_z"])]
    rows = BETA < 1  # below, the integrals are numbers that float64 holds
    total = (z[0] + z[1])[rows]
    wanted = (z[0] * told["narrow_distortion"] + z[1] * told["wide_distortion"])[rows] / total
    curve = lab().curve(alpha, blur)
    np.testing.assert_allclose(curve["log_z"][rows], np.log(total).mean(1), rtol=1e-6)
    np.testing.assert_allclose(curve["distortion"][rows], wanted.mean(1), rtol=1e-6)
    np.testing.assert_allclose(curve["rate"], -curve["log_z"] - BETA * curve["distortion"])


def test_what_travels_is_the_first_images():
    few, all_of_them = DamageLab(linear(), images=2), lab()
    assert len(few.narrow_log_z) == len(BLURS) * len(BETA) * 2 * 4
    assert 3 * len(few.wide_distortion) == len(all_of_them.wide_distortion)
    cut = {
        key: np.asarray(v)[..., :2] if key[:4] in ("narr", "wide") else v
        for key, v in linear().items()
    }
    np.testing.assert_array_equal(few.curve(0.4, 1)["log_z"], DamageLab(cut).curve(0.4, 1)["log_z"])
    state = embed.dependency_state([few], drop_defaults=False)[few.model_id]["state"]
    assert state["likelihood_index"] == np.abs(BETA - 4).argmin()


def test_the_mimebundle_has_a_small_poster_and_a_stable_text(mimebundle):
    mimebundle(lab, 40_000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": BETA[::-1]}, "ascending"),
        ({"blurs": (0.5, 1, 2, 3)}, "ascend from 0"),
        ({"likelihood_beta": 500.0}, r"500.0 should lie in 0.01 \.\.\. 100"),
        ({"wide_log_z": np.zeros((4, 13, 5))}, r"wide_log_z has shape \(4, 13, 5\)"),
        ({"narrow_log_z": np.zeros((4, 12, 6))}, r"should be \(4, 13, n_images\)"),
        ({"wide_distortion": np.full((4, 13, 6), np.nan)}, "wide_distortion should hold finite"),
    ],
)
def test_bad_curves_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        lab(**changes)


def test_what_lacks_and_what_is_out_of_range_is_named():
    lacking = linear()
    del lacking["wide_log_z"]
    with pytest.raises(ValueError, match=r"lack \['wide_log_z'\]"):
        DamageLab(lacking)
    with pytest.raises(ValueError, match="images is 0"):
        DamageLab(linear(), images=0)
    with pytest.raises(ValueError, match=r"alpha 1 should|alpha 1.0 should"):
        DamageLab(linear(), alpha=1)
    widget = lab()
    with pytest.raises(ValueError, match=r"0 \.\.\. 3"):
        widget.blur = 4
    widget.set_state({"alpha": 0.25, "blur": 1})
    assert (widget.alpha, widget.blur) == (0.25, 1)
