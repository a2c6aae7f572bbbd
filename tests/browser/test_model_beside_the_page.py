"""A large model comes as a script beside its page, when one of its widgets is first used."""

import functools

import pytest
from small_widgets import pooling_weights, ruler, temperature

PROSE = '</main><p><a href="#ruler=own_scale:on">on one scale</a></p>'


@pytest.fixture
def page(tmp_path, write_page, extension, monkeypatch):
    """A page of two widgets that share a model, which lies beside it; and the model's file."""
    monkeypatch.setattr(extension, "MOST_BYTES", 1000)
    weights = pooling_weights()
    path = write_page(tmp_path, ruler(weights=weights), temperature(weights=weights))
    pack = functools.partial(extension.packed_state, folder=tmp_path)
    text = extension.STATES.sub(pack, path.read_text("utf-8")).replace("</main>", PROSE)
    path.write_text(text, "utf-8")
    (model,) = tmp_path.glob("model-*.js")
    assert f'data-beside="{model.name}"' in text
    return path, model


def waiting(view):
    view.page.locator(".dgm-load").nth(1).wait_for()
    assert view.page.locator(".dgm").count() == 0
    assert not [request for request in view.finished if "model-" in request.url]
    return view.page.locator(".dgm-load").first


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_it_comes_once_when_a_widget_is_used_and_the_focus_goes_on(visit, serve, page, scheme):
    path, model = page
    view = visit(f"{serve(path.parent)}/{path.name}" if scheme == "http" else path.as_uri())
    button = waiting(view)
    assert "MB" in button.inner_text()
    view.page.keyboard.press("Tab")
    view.page.keyboard.press("Enter")
    view.ready(2).settle()
    assert view.page.evaluate("document.activeElement.closest('.dgm-body') !== null")
    assert view.page.locator(".dgm-load").count() == 0
    assert len([request for request in view.finished if model.name in request.url]) == 1
    assert view.page.locator("tbody tr").count() > 2
    view.assert_clean()


@pytest.mark.parametrize("use", ["pointer", "touch", "link", "address"])
def test_whatever_uses_a_widget_starts_it(visit, page, use):
    address = page[0].as_uri()
    if use == "address":
        view = visit(f"{address}#ruler=own_scale:on")
    else:
        view = visit(address, has_touch=use == "touch")
        button = waiting(view)
        link = view.page.get_by_role("link", name="on one scale")
        {"pointer": button.hover, "touch": button.tap, "link": link.click}[use]()
    view.ready(2).settle()
    own = view.page.get_by_role("checkbox").first
    assert own.is_checked() == (use in ("link", "address"))
    view.assert_clean()


def test_a_missing_model_is_named_and_the_posters_stay(visit, page):
    path, model = page
    model.unlink()
    view = visit(path.as_uri())
    waiting(view).press("Enter")
    alert = view.page.get_by_role("alert")
    alert.nth(1).wait_for()
    assert f"{model.name}, is not beside this page" in alert.first.inner_text()


def test_it_says_that_it_loads(visit, serve, page):
    path, model = page
    view, held = visit(f"{serve(path.parent)}/{path.name}"), []
    view.page.route(f"**/{model.name}", lambda route: held.append(route))
    waiting(view).press("Enter")
    note = view.page.get_by_role("status").filter(has_text="Loading the model")
    note.first.wait_for()
    view.page.wait_for_function("() => document.querySelector('.dgm-load').disabled")
    while not held:
        view.page.wait_for_timeout(20)
    held[0].continue_()
    view.ready(2)
    assert note.count() == 0
