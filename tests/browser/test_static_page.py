"""The widgets in a page without a kernel and without the book around them."""

import re

import numpy as np
import pytest
from ipywidgets import embed
from small_widgets import decode, network

from dgm_book.widgets import (
    DamageLab,
    DrawADigit,
    LatentSpace,
    PageWeights,
    RateDistortionExplorer,
)

BETAS = 25


MODELS = {"vae2": network(2, 784, seed=0), "vae10": network(10, 784, seed=1)}
CODES = {f"vae{d}": np.random.default_rng(d).normal(size=(4, d)) for d in (2, 10)}


def curve(latent, floor):
    beta = np.geomspace(0.01, 100, BETAS)
    distortion = floor + 40 / (1 + 5 * beta)
    # dR = -beta dD, so that the tangent is one.
    rate = np.concatenate([[0], np.cumsum(-np.diff(distortion) * (beta[1:] + beta[:-1]) / 2)])
    ends = np.random.default_rng(latent).normal(size=(2, 12, latent))
    mix = np.linspace(0, 1, BETAS)[:, None, None]
    return {
        "model": f"vae{latent}",
        "label": f"VAE, {latent} latent dimensions",
        "beta": beta,
        "rate": rate,
        "rate_error": 0.05 * rate,
        "distortion": distortion,
        "distortion_error": 0.02 * distortion,
        "log_z": -rate - beta * distortion,
        "codes": (1 - mix) * ends[0] + mix * ends[1],
    }


def make_widgets(badge="random decoders"):
    weights = PageWeights(MODELS, {name: (z, decode(MODELS[name], z)) for name, z in CODES.items()})
    means = np.random.default_rng(4).normal(size=(1000, 2))
    labels = (np.arctan2(*means.T) * 5 / np.pi + 5).astype(int).clip(0, 9)
    beta = np.geomspace(0.01, 100, BETAS)
    damage = {"beta": beta, "blurs": (0, 1), "likelihood_beta": 5.0}
    for prior, scale in (("narrow", 1), ("wide", 2)):
        damage[f"{prior}_distortion"] = np.tile(scale * 50 / (1 + 4 * beta), (2, 1))[..., None]
        damage[f"{prior}_log_z"] = np.tile(-scale * 12 * np.log1p(4 * beta), (2, 1))[..., None]
    return (
        RateDistortionExplorer(weights, [curve(10, 8), curve(2, 15)], (28, 28), badge),
        LatentSpace(weights, "vae2", means, labels, (28, 28), badge),
        DamageLab(damage, badge),
        DrawADigit(weights, "vae2", (28, 28), badge=badge),
    )


@pytest.fixture(scope="module")
def widgets():
    return make_widgets()


@pytest.fixture
def opened(opened, widgets):
    """Return ``opened(**options)``: a page with all four widgets."""
    return lambda **options: opened(*widgets, **options)


def test_the_read_outs_are_the_recorded_numbers(opened, widgets):
    tab = opened()
    tab.page.get_by_label("nats per unit of squared error").press("End")
    tab.settle()
    recorded = widgets[0].curves[0]
    bits = recorded["rate"][-1] / np.log(2)
    expected = {
        0: [f"{recorded['rate'][-1]:.1f}", f"{bits:.1f}", f"{bits / 784:.4f}"],
        1: [f"{recorded['distortion'][-1]:.2f}"],
        2: [f"{-10 * np.log10(recorded['distortion'][-1] / 784):.1f} dB"],
        3: [f"\u2212{-recorded['log_z'][-1]:.1f}"],
    }
    for row, values in expected.items():
        text = tab.page.locator(".dgm").first.locator("dd").nth(row).inner_text()
        assert all(value in text for value in values), (text, values)


def test_another_model_is_chosen_at_the_same_beta_and_reset_returns(opened):
    tab = opened()
    value = tab.page.locator(".dgm").first.locator("output")
    beta, picture = value.inner_text(), tab.pictures()[0]
    tab.page.get_by_role("radio", name="VAE, 2 latent").check()
    tab.settle()
    assert value.inner_text() == beta
    assert tab.pictures()[0] != picture
    tab.page.get_by_role("button", name="Reset").first.click()
    tab.settle()
    assert tab.pictures()[0] == picture
    assert tab.page.get_by_role("radio", name="VAE, 10 latent").is_checked()


def test_the_dot_can_be_dragged_along_the_curve(opened):
    tab = opened()
    chart = tab.page.locator(".dgm-picture svg").first
    value = tab.page.locator(".dgm").first.locator("output")
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] - 12, "y": box["height"] - 50})
    tab.drawn()
    assert value.inner_text() == "0.0100"


def test_the_tangent_meets_the_rate_axis_at_minus_log_z(opened, widgets):
    tab = opened()
    slider = tab.page.get_by_label("nats per unit of squared error")
    slider.press("Home")
    for _ in range(6):
        slider.press("ArrowRight")
    tab.settle()
    svg = tab.page.locator(".dgm-picture svg").first
    axis = svg.locator(".dgm-axis").get_attribute("d")
    left, top, bottom = (float(v) for v in re.findall(r"[\d.]+", axis)[:3])

    def attribute(node, key):
        return float(svg.locator(node).get_attribute(key))

    drawn = svg.locator(".dgm-rd-tangent").get_attribute("d")
    start = [float(v) for v in re.findall(r"[\d.]+", drawn)[:2]]
    assert start == pytest.approx([left, attribute(".dgm-rd-meet", "cy")])
    scale = 1.06 * max(rate for curve in widgets[0].curves for rate in curve["rate"])
    meets = (bottom - attribute(".dgm-rd-meet", "cy")) / (bottom - top) * scale
    assert meets == pytest.approx(-widgets[0].curves[0]["log_z"][6], rel=1e-3)


@pytest.fixture
def compared(tmp_path, write_page, visit):
    """A page with an explorer of two families, of which the page has two decoders."""
    shown = []
    for latent, family, has in [
        (10, "VAE", True),
        (2, "VAE", True),
        (10, "GAN", False),
        (100, "GAN", False),
    ]:
        item = curve(latent, 40 / latent) | {"family": family, "latent_dim": latent}
        item |= {"model": f"{family}{latent}", "label": f"{family} with {latent}"}
        if not has:
            del item["codes"]
        if family == "GAN":  # at other betas
            item = {key: v[3:] if isinstance(v, np.ndarray) else v for key, v in item.items()}
        shown.append(item)
    weights = PageWeights({"VAE10": network(10, 784, seed=1), "VAE2": network(2, 784, seed=0)})
    explorer = RateDistortionExplorer(weights, shown, (28, 28), "random decoders", beta_index=12)
    tab = visit(write_page(tmp_path, explorer).as_uri()).ready(1)
    tab.settle()
    return tab


def test_family_and_latent_size_are_chosen_at_the_same_beta(compared):
    page = compared.page
    value = page.locator("output")
    beta = value.inner_text()
    picture = compared.pictures()
    names = page.locator("svg text[class*=dgm-strong]")
    assert "VAE 10" in names.all_text_contents()
    assert page.get_by_label("100", exact=True).is_disabled()
    page.get_by_label("2", exact=True).check()
    compared.settle()
    assert "VAE 2" in names.all_text_contents()
    assert compared.pictures() != picture
    page.get_by_label("GAN", exact=True).check()
    compared.settle()
    assert "GAN 10" in names.all_text_contents()  # the nearest to two
    assert value.inner_text() == beta
    assert page.get_by_label("2", exact=True).is_disabled()
    caption = page.locator("figcaption")
    assert caption.inner_text().startswith(
        "This page carries the curve of GAN with 10, not its decoder"
    )
    assert page.locator("canvas").is_hidden()
    page.get_by_label("100", exact=True).press("Space")
    compared.settle()
    assert "GAN 100" in names.all_text_contents()
    page.get_by_role("button", name="Reset").click()
    compared.settle()
    assert "VAE 10" in names.all_text_contents()
    assert (value.inner_text(), compared.pictures()) == (beta, picture)
    compared.assert_clean()


def test_on_the_logarithmic_axis_the_dot_and_the_tangent_stay_on_the_curve(compared):
    page = compared.page
    box = page.get_by_label("logarithmic D axis")

    def places():
        dot = page.locator(".dgm-rd-dot").get_attribute("transform")
        line = page.locator(".dgm-picture .dgm-chosen .dgm-rd-line").get_attribute("d")
        bend = page.locator(".dgm-rd-tangent").get_attribute("d")
        return [
            np.array(re.findall(r"-?[\d.]+(?:e-?\d+)?", path), float).reshape(-1, 2)
            for path in (dot, line, bend)
        ]

    straight = places()
    box.press("Space")
    compared.settle()
    bent = places()
    assert len(straight[2]) == 2
    for dot, line, tangent in (straight, bent):
        np.testing.assert_allclose(dot[0], line[12], atol=1e-6)
        # Nowhere above the curve, and near it at the dot.
        height = np.interp(line[:, 0][::-1], tangent[:, 0], tangent[:, 1], np.nan, np.nan)[::-1]
        assert np.nanmin(height - line[:, 1]) > -2
        assert abs(height[12] - line[12, 1]) < 2
    assert abs(straight[0] - bent[0]).max() > 5
    # The dot stands where the axis says.
    marks = "all => all.map(one => [+one.textContent, +one.getAttribute('x')])"
    labels = page.locator(".dgm-picture svg text[text-anchor=middle]").evaluate_all(marks)
    ticks = [(np.log(d), x) for d, x in labels if d is not None and d > 0]
    assert len(ticks) >= 2
    distortion = float(page.locator("dd").nth(1).inner_text().split()[0])
    slope, start = np.polyfit(*zip(*ticks, strict=True), 1)
    assert start + slope * np.log(distortion) == pytest.approx(bent[0][0, 0], abs=1)
    box.press("Space")
    compared.settle()
    np.testing.assert_allclose(places()[0], straight[0])
    assert compared.axe() == ""


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_the_plane_answers_arrow_keys_and_sliders(opened, scheme):
    tab = opened(scheme=scheme)
    plane = tab.page.locator(".dgm").nth(1)
    code = plane.locator("dd").first
    tab.settle()
    assert code.inner_text() == "(0.00, 0.00)"
    step = 0.02 * float(plane.get_by_role("slider").first.get_attribute("max"))
    for key, at in [("ArrowRight", (step, 0)), ("ArrowUp", (step, step))]:
        picture = tab.pictures()[1]
        plane.locator(".dgm-pad").press(key)
        tab.settle()
        assert code.inner_text() == f"({at[0]:.2f}, {at[1]:.2f})"
        assert tab.pictures()[1] != picture
    plane.get_by_role("slider").first.press("ArrowLeft")
    tab.settle()
    assert code.inner_text() == f"({step - 0.01:.2f}, {step:.2f})"
    tab.page.wait_for_function(
        "text => document.querySelectorAll('.dgm-status')[1].textContent.startsWith(text)",
        arg=f"z {step - 0.01:.2f}, {step:.2f}",
    )
    tab.assert_clean()


def test_the_plane_follows_the_mouse_and_stays_inside(opened):
    tab = opened()
    plane = tab.page.locator(".dgm").nth(1)
    ground = plane.locator(".dgm-ls-ground")
    ground.scroll_into_view_if_needed()
    box = ground.bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 3 * box["width"], box["y"] + box["height"] / 4, steps=4)
    tab.page.mouse.up()
    tab.settle()
    first, second = plane.locator("dd").first.inner_text().strip("()").split(", ")
    limit = float(plane.get_by_role("slider").first.get_attribute("max"))
    assert float(first) == limit
    assert float(second) == pytest.approx(limit / 2, abs=0.05)


def test_keyboard_focus_is_visible(opened):
    tab = opened()
    for node in (".dgm-pad", ".dgm input", ".dgm-reset"):
        tab.page.keyboard.press("Tab")  # so that focus counts as the keyboard's
        tab.page.locator(node).first.focus()
        style = "node => getComputedStyle(node).outlineStyle + getComputedStyle(node).outlineWidth"
        assert tab.page.locator(node).first.evaluate(style) == "solid2px"


def test_the_page_decodes_what_the_original_network_decodes(opened, widgets):
    tab = opened()
    weights = widgets[0].weights
    errors = {
        name: np.abs(decode(weights.layers(name), z) - decode(MODELS[name], z)).max()
        for name, z in CODES.items()
    }
    shown = tab.page.locator(".dgm").evaluate_all(
        "all => all.slice(0, 2).map(one => +one.dataset.goldenError)"
    )
    assert shown == pytest.approx([max(errors.values()), errors["vae2"]], abs=1e-4)
    assert max(shown) <= 0.03


def test_who_asks_for_less_motion_gets_one_frame_a_move(opened):
    tab = opened(reduced_motion="reduce")
    tab.page.evaluate("performance.clearMeasures()")
    tab.page.get_by_label("nats per unit of squared error").press("End")
    tab.settle()
    assert len(tab.frames()) == 1


def test_the_state_may_come_in_several_scripts(widgets, tmp_path, write_page, visit):
    state = embed.dependency_state(widgets, drop_defaults=False)
    states = [{key: value} for key, value in state.items()]
    visit(write_page(tmp_path, *widgets, states=states).as_uri()).ready(4).assert_clean()


def test_a_widget_that_cannot_start_shows_its_poster_and_the_reason(
    widgets, tmp_path, write_page, visit
):
    path = write_page(tmp_path, *widgets[:2])
    page = path.read_text("utf-8")
    pixel = "<svg xmlns=%22http://www.w3.org/2000/svg%22 width=%229%22 height=%229%22/>"
    for i in range(2):
        poster = (
            f"<noscript><img src='data:image/svg+xml,{pixel}' alt='poster {i}'></noscript></div>"
        )
        page = page.replace("</script></div>", f"</script >{poster}", 1)
    state = "<script type='application/x-dgm-state' data-head='9'>AAAA</script>"
    path.write_text(
        re.sub(r"<script type=\"[^\"]*state\+json\">.*?</script>", state, page, flags=re.S)
    )
    tab = visit(path.as_uri())
    tab.page.get_by_role("alert").nth(1).wait_for()
    for message in tab.page.get_by_role("alert").all_inner_texts():
        assert "data cannot be read" in message
    shown = tab.page.locator(".dgm-view img")
    assert [item.get_attribute("alt") for item in shown.all()] == ["poster 0", "poster 1"]
    assert shown.first.evaluate("image => image.naturalWidth") == 9


def test_a_widget_without_state_says_so_and_leaves_the_others_alone(
    widgets, tmp_path, write_page, visit
):
    state = embed.dependency_state(widgets, drop_defaults=False)
    del state[widgets[0].model_id]
    tab = visit(write_page(tmp_path, *widgets, states=[state]).as_uri()).ready(3)
    message = tab.page.get_by_role("alert").inner_text()
    assert message.startswith("This interactive figure could not start: its state")
    assert len(tab.problems) == 1
