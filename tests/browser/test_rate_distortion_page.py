"""The explorer, the plane and the damage lab in a page: their numbers are PyTorch's."""

import re

import numpy as np
import pytest
import small_widgets as small
from ipywidgets import embed


def numbers(text):
    return np.array(re.findall(r"-?[\d.]+(?:e-?\d+)?", text), float)


def sound(name, latent, floor, betas=25, **changes):
    """A curve with the right slopes: dR = -beta dD, so that the tangent is one."""
    beta = np.geomspace(0.01, 100, betas)
    distortion = floor + 40 / (1 + 5 * beta)
    rate = np.concatenate([[0], np.cumsum(-np.diff(distortion) * (beta[1:] + beta[:-1]) / 2)])
    options = {"beta": beta, "rate": rate, "rate_error": 0.05 * rate, "distortion": distortion}
    options |= {"log_z": -rate - beta * distortion, "label": f"{changes.get('family')} {latent}"}
    return small.curve(name, latent, betas, **options | changes)


def explorer(**changes):
    """An explorer of two families; the page has no decoder of one curve."""
    curves = [sound("vae3", 3, 8, family="VAE", latent_dim=3)]
    curves.append(sound("vae2", 2, 15, family="VAE", latent_dim=2))
    for latent in (3, 100):  # at other betas
        gan = sound(f"gan{latent}", latent, 20, family="GAN", latent_dim=latent)
        curves.append({k: v[3:] if isinstance(v, np.ndarray) else v for k, v in gan.items()})
    del curves[-1]["codes"]
    models = {f"{name}{n}": small.network(n, 16, 8, n) for name, n in (("vae", 2), ("vae", 3))}
    weights = small.page_weights(models=models | {"gan3": small.network(3, 16, 8, 9)}, golden={})
    return small.explorer(weights=weights, curves=curves, beta_index=12, **changes)


def tangent_slider(tab):
    return tab.slider("Price of errors")


def test_the_read_outs_are_the_recorded_numbers_and_a_move_may_be_one_frame(opened):
    tab = opened(explorer(), reduced_motion="reduce")
    tab.page.evaluate("performance.clearMeasures()")
    tangent_slider(tab).press("End")
    tab.settle()
    assert len(tab.frames()) == 1
    recorded = explorer().curves[0]
    bits = recorded["rate"][-1] / np.log(2)
    expected = [
        [f"{recorded['rate'][-1]:.1f}", f"{bits:.1f}", f"{bits / 16:.2f}"],
        [f"{recorded['distortion'][-1]:.2f}"],
        [f"{-10 * np.log10(recorded['distortion'][-1] / 16):.1f} dB".replace("-", "\u2212")],
        [f"\u2212{-recorded['log_z'][-1]:.1f}"],
    ]
    for row, values in enumerate(expected):
        text = tab.page.locator("dd").nth(row).inner_text()
        assert all(value in text for value in values), (text, values)


def test_the_dot_is_dragged_and_the_tangent_meets_the_rate_axis_at_minus_log_z(opened):
    tab = opened(explorer())
    chart, value = tab.page.locator(".dgm-picture svg").first, tab.page.locator("output")
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] - 12, "y": box["height"] - 50})
    tab.settle()
    assert value.inner_text() == "0.0100"
    for _ in range(6):
        tangent_slider(tab).press("ArrowRight")
    tab.settle()
    left, top, bottom = numbers(chart.locator(".dgm-axis").get_attribute("d"))[:3]
    meet = float(chart.locator(".dgm-rd-meet").get_attribute("cy"))
    start = numbers(chart.locator(".dgm-rd-tangent").get_attribute("d"))[:2]
    np.testing.assert_allclose(start, [left, meet])
    curves = explorer().curves
    scale = 1.06 * max(rate for curve in curves for rate in curve["rate"])
    meets = (bottom - meet) / (bottom - top) * scale
    assert meets == pytest.approx(-curves[0]["log_z"][6], rel=1e-3)


def test_family_and_latent_size_are_chosen_at_the_same_beta(opened):
    tab = opened(explorer())
    page, value = tab.page, tab.page.locator("output")
    first = value.inner_text(), tab.pictures()
    names = page.locator("svg text[class*=dgm-strong]")
    assert "VAE 3" in names.all_text_contents()
    assert page.get_by_label("100", exact=True).count() == 0  # drawn, without pictures
    assert "GAN 100" in page.locator("svg text.dgm-halo").all_text_contents()
    page.get_by_label("2", exact=True).check()
    tab.settle()
    assert "VAE 2" in names.all_text_contents()
    assert tab.pictures() != first[1]
    page.get_by_label("GAN", exact=True).check()
    tab.settle()
    assert "GAN 3" in names.all_text_contents()  # the nearest to two
    assert value.inner_text() == first[0]
    assert page.get_by_label("2", exact=True).is_disabled()
    tab.button("Reset").click()
    tab.settle()
    assert (value.inner_text(), tab.pictures()) == first


TILES = """() => {
  const canvas = document.querySelector(".dgm canvas");
  const wide = (canvas.width + 24) / 3;  // of a pair with its gaps
  return [0, 1].map(side => [...canvas.getContext("2d")
    .getImageData(side * wide / 2, 0, wide / 2 - 24, canvas.height).data].join());
}"""


def test_the_target_stays_beside_the_sample_which_the_slider_changes(opened):
    tab = opened(explorer(targets=np.random.default_rng(0).uniform(size=(3, 4, 4))))
    before = tab.page.evaluate(TILES)
    assert "the image x itself" in tab.page.locator("figcaption").inner_text()
    tangent_slider(tab).press("ArrowRight")
    tab.settle()
    after = tab.page.evaluate(TILES)
    assert before[0] == after[0]
    assert before[1] != after[1]
    page = opened(explorer()).page
    assert "x, as VAE 3 redraws it" in page.locator("figcaption").inner_text()


def test_references_have_names_inside_the_plot_and_go_by_a_checkbox(opened):
    tab = opened(explorer())
    page = tab.page
    names = page.locator(".dgm-picture svg text[font-style=italic]")
    assert names.all_text_contents() == ["Gaussian", "codec"]
    scale = page.locator(".dgm-picture svg text[text-anchor=end]")
    before = scale.all_text_contents()
    page.get_by_label("logarithmic R axis").press("Space")
    tab.settle()
    assert scale.all_text_contents() != before
    plot = page.locator(".dgm-picture svg").bounding_box()
    for box in (name.bounding_box() for name in names.all()):
        assert plot["x"] <= box["x"] <= plot["x"] + plot["width"] - box["width"]
        assert plot["y"] <= box["y"] <= plot["y"] + plot["height"] - box["height"]
    dot = numbers(page.locator(".dgm-rd-dot").get_attribute("transform"))
    line = page.locator(".dgm-picture .dgm-chosen .dgm-rd-line").get_attribute("d")
    np.testing.assert_allclose(dot, numbers(line).reshape(-1, 2)[12], atol=1e-6)
    page.get_by_label("reference lines").press("Space")
    tab.settle()
    assert not any(name.is_visible() for name in names.all())
    assert page.locator(".dgm-rd-reference").first.is_hidden()


def test_on_the_logarithmic_axis_the_dot_and_the_tangent_stay_on_the_curve(opened):
    tab = opened(explorer())

    def places():
        nodes = {".dgm-rd-dot": "transform", ".dgm-picture .dgm-chosen .dgm-rd-line": "d"}
        nodes[".dgm-rd-tangent"] = "d"
        paths = [tab.page.locator(node).get_attribute(name) for node, name in nodes.items()]
        return [numbers(path).reshape(-1, 2) for path in paths]

    straight = places()
    tab.page.get_by_label("logarithmic D axis").press("Space")
    tab.settle()
    bent = places()
    for dot, line, tangent in (straight, bent):
        np.testing.assert_allclose(dot[0], line[12], atol=1e-6)
        # Nowhere above the curve, and near it at the dot.
        height = np.interp(line[:, 0][::-1], tangent[:, 0], tangent[:, 1], np.nan, np.nan)[::-1]
        assert np.nanmin(height - line[:, 1]) > -2
        assert abs(height[12] - line[12, 1]) < 2
    assert abs(straight[0] - bent[0]).max() > 5
    # The dot stands where the axis says.
    marks = "all => all.map(one => [+one.textContent, +one.getAttribute('x')])"
    labels = tab.page.locator(".dgm-picture svg text[text-anchor=middle]").evaluate_all(marks)
    ticks = [(np.log(d), x) for d, x in labels if d is not None and d > 0]
    slope, start = np.polyfit(*zip(*ticks, strict=True), 1)
    distortion = float(tab.page.locator("dd").nth(1).inner_text().split()[0])
    assert start + slope * np.log(distortion) == pytest.approx(bent[0][0, 0], abs=1)


def test_the_plane_answers_keys_sliders_and_the_mouse_and_stays_inside(opened):
    tab = opened(small.plane())
    page, code = tab.page, tab.page.locator("dd").first
    limit = float(tab.slider("").first.get_attribute("max"))
    step = 0.02 * limit
    for key, at in [("ArrowRight", (step, 0)), ("ArrowUp", (step, step))]:
        picture = tab.pictures()
        page.locator(".dgm-pad").press(key)
        tab.settle()
        assert code.inner_text() == f"({at[0]:.2f}, {at[1]:.2f})"
        assert tab.pictures() != picture
    style = "node => getComputedStyle(node).outlineStyle + getComputedStyle(node).outlineWidth"
    assert page.locator(".dgm-pad").evaluate(style) == "solid2px"
    tab.slider("").first.press("ArrowLeft")
    tab.settle()
    assert code.inner_text() == f"({step - 0.01:.2f}, {step:.2f})"
    page.locator(".dgm-status", has_text=f"z {step - 0.01:.2f}, {step:.2f}").wait_for()
    ground = page.locator(".dgm-ls-ground")
    ground.scroll_into_view_if_needed()
    box = ground.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.drag(middle, (box["x"] + 3 * box["width"], box["y"] + box["height"] / 4))
    tab.settle()
    first, second = map(float, code.inner_text().strip("()").split(", "))
    assert first == pytest.approx(limit, abs=0.005)
    assert second == pytest.approx(limit / 2, abs=0.05)


def test_the_state_may_come_in_parts_and_a_widget_without_one_says_so(tmp_path, write_page, visit):
    widgets = small.explorer(), small.plane(), small.lab()
    state = embed.dependency_state(widgets, drop_defaults=False)
    states = [{key: value} for key, value in state.items() if key != widgets[2].model_id]
    tab = visit(write_page(tmp_path, *widgets, states=states).as_uri()).ready(2)
    message = tab.page.get_by_role("alert").inner_text()
    assert message.startswith("This interactive figure could not start: its state")
    assert len(tab.problems) == 1


def test_the_damage_lab_s_read_outs_and_lines_follow_the_keyboard(opened):
    tab = opened(small.lab())
    page, rows = tab.page, tab.page.locator("dl dd")

    def lines():
        paths = page.locator(".dgm-picture svg").first.locator(".dgm-rd-line")
        texts = paths.evaluate_all("all => all.map(one => one.getAttribute('d'))")
        return [numbers(text).reshape(-1, 2) for text in texts]

    page.get_by_label("bad-prior weight").press("End")
    tab.settle()
    assert rows.first.inner_text().startswith("4.61 nats")
    whole, damaged, cap = lines()
    # The axis is upside down, and the cap begins at the right edge.
    assert (np.interp(damaged[::-1, 0], cap[::-1, 0], cap[::-1, 1]) <= damaged[::-1, 1] + 1).all()
    assert (cap[1:, 1] < whole[:, 1]).all()
    page.get_by_label("bad-prior weight").press("Home")
    tab.settle()
    assert rows.first.inner_text().startswith("0.00 nats")
    whole, damaged, cap = lines()
    np.testing.assert_allclose(whole, damaged)
    np.testing.assert_allclose(whole, cap[1:])
    page.get_by_label("blur, standard").press("End")
    tab.settle()
    assert page.locator("output").nth(1).inner_text() == "2"
    means = np.mean(small.damage()["narrow_log_z"], 2)[:, small.lab().likelihood_index]
    shown = float(page.locator(".dgm-odds").nth(1).inner_text().split()[0])
    assert shown == pytest.approx(means[0] - means[3], rel=0.01)
    page.locator(".dgm-status", has_text="blur 2 pixels").wait_for()
