"""Chapter 1's opening, played: at a high price each sample turns into the digit at its left."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

PAGE = "notebooks/01_rate_distortion.html"
LOW, HIGH = "#explorer=beta:0.01", "#explorer=beta:44.8"  # of the opening
OTHERS = ("vae2", "gan10")
PRESS = """link => {
  const address = Object.assign(document.createElement("a"), { href: link });
  document.querySelector("main").append(address);
  address.click();
  address.remove();
}"""


@pytest.fixture
def explorer(visit, serve, book):
    """Return ``at(link) -> (rate, distortion, error of each pair of pictures)``."""
    view = visit(f"{serve(book)}/{PAGE}", reduced_motion="reduce").ready(1)
    root = view.page.locator(".dgm").first

    def at(link, press=True):
        if press:
            view.page.evaluate(PRESS, link)
        view.settle()
        values = root.locator("dd").all_inner_texts()
        rate, distortion = (float(re.search(r"[\d.]+", text)[0]) for text in values[:2])
        url = root.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")
        picture = base64.b64decode(url.partition(",")[2])
        return rate, distortion, pair_errors(np.array(Image.open(io.BytesIO(picture)).convert("L")))

    at.view = view
    return at


def pair_errors(picture):
    """The mean squared difference of both pictures of each pair, tiles of 140 pixels in a frame."""
    tile, near, across, down, pad = 140, 143, 322, 166, 6
    parts = picture.astype(float) / 255
    errors = []
    for y in range(pad, parts.shape[0] - tile + 1, down):
        for x in range(pad, parts.shape[1] - near - tile + 1, across):
            left, right = (parts[y : y + tile, k : k + tile] for k in (x, x + near))
            errors.append(float(np.square(left - right).mean()))
    return np.array(errors)


def test_the_opening_holds_for_the_default_and_nine_of_ten_others(explorer):
    for link in (LOW, HIGH):
        assert explorer.view.page.locator(f'main a[href="{link}"]').count() >= 1
    outcomes = []
    for model in ("vae10", *OTHERS):
        rates, distortions, errors = zip(
            *(explorer(f"{link},model:{model}") for link in (LOW, HIGH)), strict=True
        )
        assert rates[0] < 1 < rates[1]
        assert distortions[1] < 0.5 * distortions[0]
        outcomes.append(errors[1] < 0.5 * errors[0])
    default, *others = outcomes
    assert len(default) >= 4
    assert default.all(), "of the default model each pair comes together"
    others = np.concatenate(others)
    assert len(others) >= 10
    assert others.mean() >= 0.9, others


def test_the_tour_shows_what_its_words_say(explorer):
    page = explorer.view.page
    page.locator(".dgm-tour summary").click()
    floors = []
    for name in ("A high price", "A code of two dimensions", "A GAN"):
        page.locator(".dgm-tour").get_by_role("link", name=name).click()
        floors.append(explorer("", press=False)[1])
    high, small, gan = floors
    assert high < gan < small
