import numpy as np
import pytest
from ipywidgets import embed

from dgm_book.widgets import DamageLab

BETA = np.geomspace(0.01, 100, 13)
BLURS = (0, 0.5, 1, 2)


def linear(images=6, latent=3, seed=0):
    """The closed form of f(z) = s z under N(0, v I); blur adds to the distance from its range."""
    r = np.random.default_rng(seed)
    gain, code = np.linspace(2, 1, latent), r.normal(size=(images, latent))
    beyond = r.uniform(1, 4, size=images)
    curves = {
        f"{name}_{term}": [] for name in ("narrow", "wide") for term in ("log_z", "distortion")
    }
    for blur in BLURS:
        s, apart = gain / (1 + 0.2 * blur), beyond + blur
        for name, variance in (("narrow", 1), ("wide", 100)):
            a = 2 * BETA[:, None, None] * variance * s**2
            far = (gain * code) ** 2
            log_z = -0.5 * np.log1p(a) - BETA[:, None, None] * far / (1 + a)
            distortion = variance * s**2 / (1 + a) + far / (1 + a) ** 2
            curves[f"{name}_log_z"].append(log_z.sum(2) - BETA[:, None] * apart)
            curves[f"{name}_distortion"].append(distortion.sum(2) + apart)
    return {"beta": BETA, "blurs": BLURS, "likelihood_beta": 4.0} | curves


def lab(**changes):
    return DamageLab(linear() | changes, "closed form", alpha=0.5)


def test_what_travels_is_the_first_images():
    first, every_image = DamageLab(linear(), images=2), lab()
    assert len(first.narrow_log_z) == len(BLURS) * len(BETA) * 2 * 4
    assert 3 * len(first.wide_distortion) == len(every_image.wide_distortion)
    sent = np.frombuffer(first.wide_log_z, "<f4").reshape(len(BLURS), len(BETA), 2)
    np.testing.assert_allclose(sent, np.array(linear()["wide_log_z"])[..., :2], rtol=1e-6)
    state = embed.dependency_state([first], drop_defaults=False)[first.model_id]["state"]
    assert state["likelihood_index"] == np.abs(BETA - 4).argmin()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": BETA[::-1]}, "ascending"),
        ({"blurs": (0.5, 1, 2, 3)}, "ascend from 0"),
        ({"likelihood_beta": 500.0}, r"500.0 should lie in 0.01 \.\.\. 100"),
        ({"wide_log_z": np.zeros((4, 13, 5))}, r"wide_log_z has shape \(4, 13, 5\)"),
        ({"narrow_log_z": np.zeros((4, 12, 6))}, r"\(4, 12, 6\), should be .* R = 13"),
        ({"wide_distortion": np.full((4, 13, 6), np.nan)}, "wide_distortion holds values"),
    ],
)
def test_bad_curves_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        lab(**changes)


def test_what_lacks_and_what_is_out_of_range_is_named():
    lacking = linear()
    del lacking["wide_log_z"]
    with pytest.raises(ValueError, match=r"lacks \['wide_log_z'\]"):
        DamageLab(lacking)
    with pytest.raises(ValueError, match="images is 0"):
        DamageLab(linear(), images=0)
    with pytest.raises(ValueError, match=r"alpha=1(.0)?: should"):
        DamageLab(linear(), alpha=1)
    widget = lab()
    with pytest.raises(ValueError, match=r"0 \.\.\. 3"):
        widget.blur = 4
    widget.set_state({"alpha": 0.25, "blur": 1})
    assert (widget.alpha, widget.blur) == (0.25, 1)
