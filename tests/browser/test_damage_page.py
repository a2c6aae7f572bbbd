"""The damage lab in a page without a kernel."""

import re

import numpy as np
import pytest
import torch

from dgm_book.chapters.rate_distortion.chapter import mixture
from dgm_book.widgets import DamageLab

BETA = np.geomspace(0.003, 200, 24)
BLURS = (0, 0.5, 1, 2)
TERMS = ("narrow_log_z", "narrow_distortion", "wide_log_z", "wide_distortion")


def curves(images=24):
    """Curves with the right slopes: D falls in beta, and log Z is minus its integral."""
    r = np.random.default_rng(0)
    floor, height = r.uniform(5, 9, size=images), r.uniform(40, 60, size=images)
    terms = {name: [] for name in TERMS}
    for blur in BLURS:
        for name, scale in (("narrow", 1), ("wide", 2)):
            b, low = BETA[:, None], floor + 6 * blur
            terms[f"{name}_distortion"].append(low + scale * height / (1 + 4 * b))
            terms[f"{name}_log_z"].append(-low * b - scale * height / 4 * np.log1p(4 * b))
    return {"beta": BETA, "blurs": BLURS, "likelihood_beta": 5.0} | terms


def mixed(alpha, blur):
    """The mean curve of the mixture of both priors, by the chapter's own function."""
    beta, data, ends = torch.from_numpy(BETA), curves(), []
    for prior in ("narrow", "wide"):
        terms = {term: data[f"{prior}_{term}"][blur] for term in ("log_z", "distortion")}
        terms = {term: torch.from_numpy(values).float().double() for term, values in terms.items()}
        ends.append({"beta": beta, **terms})
    curve = mixture(*ends, alpha)
    return {name: curve[name].mean(1).numpy() for name in ("log_z", "distortion", "rate")}


def test_the_read_outs_and_the_lines_follow_the_keyboard(opened):
    tab = opened(DamageLab(curves()))
    page = tab.page
    rows = page.locator("dl dd")

    def lines():
        paths = page.locator(".dgm-picture svg").first.locator(".dgm-rd-line")
        texts = paths.evaluate_all("all => all.map(one => one.getAttribute('d'))")
        return [
            np.array(re.findall(r"-?[\d.]+(?:e-?\d+)?", text), float).reshape(-1, 2)
            for text in texts
        ]

    page.get_by_label("bad-prior weight").press("End")
    tab.settle()
    assert page.get_by_label("bad-prior weight").input_value() == "0.99"
    assert rows.first.inner_text().startswith("4.61 nats")
    sound, damaged, cap = lines()
    # The axis is upside down, and the cap begins at the right edge.
    assert (np.interp(damaged[::-1, 0], cap[::-1, 0], cap[::-1, 1]) <= damaged[::-1, 1] + 1).all()
    assert (cap[1:, 1] < sound[:, 1]).all()
    page.get_by_label("bad-prior weight").press("Home")
    tab.settle()
    assert rows.first.inner_text().startswith("0.00 nats")
    sound, damaged, cap = lines()
    np.testing.assert_allclose(sound, damaged)
    np.testing.assert_allclose(sound, cap[1:])
    least = rows.nth(3).inner_text()
    page.get_by_label("blur, standard").press("End")
    tab.settle()
    assert page.locator("output").nth(1).inner_text() == "2"
    assert rows.nth(3).inner_text() != least
    lost = np.subtract(*(mixed(0, b)["log_z"] for b in (0, 3)))[np.abs(BETA - 5).argmin()]
    assert float(page.locator(".dgm-odds").nth(1).inner_text().split()[0]) == pytest.approx(
        lost, rel=0.01
    )
    page.wait_for_function(
        "() => document.querySelector('.dgm-status').textContent.includes('blur 2 pixels')"
    )
    page.get_by_role("button", name="Reset").press("Enter")
    tab.settle()
    assert page.locator("output").all_inner_texts() == ["0.90", "0"]
    tab.assert_clean()
