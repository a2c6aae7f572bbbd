"""The built book in a real browser: what a reader gets, over http and from the disk."""

import functools
import re
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import pytest

CHAPTER = "notebooks/01_rate_distortion.html"
INFORMATION = "notebooks/02_mutual_information_lm.html"
GANS = "notebooks/03_bre_gan.html"
STEERING = "notebooks/04_controllable_text_vae.html"
POOLING = "notebooks/05_pooling_vae.html"
HYPER = "notebooks/06_variational_hyper_rnn.html"


class Page(NamedTuple):
    """What a page holds, and what it may cost."""

    widgets: int  # at least
    most_bytes: int = 3_000_000  # of a first load, without the models that lie beside the page
    most_milliseconds: float = 16  # of a frame


PAGES = {
    CHAPTER: Page(4),
    INFORMATION: Page(4),
    GANS: Page(2),
    STEERING: Page(3, most_milliseconds=50),
    POOLING: Page(4, most_milliseconds=50),
    HYPER: Page(4),
    "book/intro.html": Page(1),
}
CHAPTERS = [page for page in PAGES if page.startswith("notebooks")]
# Puts a theme on and waits until no colour changes any more.
THEME = """async theme => {
  document.documentElement.dataset.theme = theme;
  await new Promise(requestAnimationFrame);
  const fades = document.getAnimations().filter(animation => animation instanceof CSSTransition);
  await Promise.allSettled(fades.map(fade => fade.finished));
}"""

# Notes when the first widget has answered a slider or a sentence, in ms after the page's request.
FIRST_ANSWER = """
const look = () => {
  document.querySelector(".dgm-load:enabled")?.click();
  const widget = document.querySelector(".dgm-view[data-ready=yes] .dgm");
  const slider = widget?.querySelector("input[type=range]") ?? widget?.querySelector("textarea");
  const said = widget?.querySelector("output") ?? widget?.querySelector("tbody");
  if (!said?.textContent) return requestAnimationFrame(look);
  const before = said.textContent;
  if (slider.type === "textarea") slider.value = "good bread .";
  else if (slider.value === slider.max) slider.stepDown();
  else slider.stepUp();
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  const wait = () => {
    if (said.textContent === before) requestAnimationFrame(wait);
    else window.firstAnswer = performance.now();
  };
  wait();
};
requestAnimationFrame(look);
"""

# Whether MathJax, which loads most of its parts late, has set a page's equations.
EQUATIONS = """() => !document.querySelector("script[src*=mathjax]")
  || document.querySelector("mjx-container")"""

# What a widget shows: its canvases, its drawings, its sentences and its tables.
PICTURE = """widget => [
  ...[...widget.querySelectorAll("canvas")].map(canvas => canvas.toDataURL()),
  ...[...widget.querySelectorAll("svg, .dgm-said, tbody")].map(node => node.innerHTML),
]"""
# Sliders that change what comes next: a step more need not change a sentence that is already as it
# shall be, and a tempo shows in motion alone.
LATER = ("How it shall sound", "Steps a second", "Tempo")


@pytest.fixture
def opened(visit, serve, book):
    """Return ``opened(page, scheme) -> Visit``, fresh, once its widgets have started."""

    def start(page, scheme="http"):
        root = serve(book) if scheme == "http" else book.as_uri()
        return visit(f"{root}/{page}").ready(PAGES[page].widgets)

    return start


@pytest.fixture(scope="module")
def shared(visit_once, serve, book):
    """Return ``shared(page) -> Visit``, one for all tests that can share it."""

    @functools.cache
    def start(page):
        return visit_once(f"{serve(book)}/{page}").ready(PAGES[page].widgets)

    return start


# From the disk, where a browser allows least; over http all other tests look.
@pytest.mark.parametrize("page", PAGES)
def test_every_widget_answers_the_keyboard_and_nothing_leaves(opened, page):
    view = opened(page, "file")
    widgets = view.page.locator(".dgm")
    for number in range(widgets.count()):
        widget = widgets.nth(number)
        sliders = widget.get_by_role("slider").all()
        if not sliders:
            before = widget.get_attribute("data-moved")
            if (box := widget.get_by_role("textbox")).count():
                box.fill("the bread was old , but we liked the waiter .")
            else:
                widget.get_by_role("button").first.click()
            view.settle()
            assert widget.get_attribute("data-moved") != before
        for slider in sliders:
            output = widget.locator(f"output[for='{slider.get_attribute('id')}']")
            before = output.inner_text(), widget.evaluate(PICTURE)
            last = slider.input_value() == slider.get_attribute("max")
            slider.press("ArrowLeft" if last else "ArrowRight")
            view.settle()
            assert output.inner_text() != before[0]
            label = slider.evaluate("slider => slider.labels[0].textContent")
            if not any(words in label for words in LATER):
                assert widget.evaluate(PICTURE) != before[1]
        if (pad := widget.locator(".dgm-pad:visible")).count():
            before = widget.evaluate(PICTURE)
            pad.press("ArrowUp")
            view.settle()
            assert widget.evaluate(PICTURE) != before
    view.page.wait_for_load_state("networkidle")
    view.assert_clean()


PRECISE = {CHAPTER: (2, 0.03), "book/intro.html": (1, 0.03), HYPER: (3, 1e-4)}


@pytest.mark.parametrize("page", PRECISE)
def test_the_page_computes_what_pytorch_computes(shared, page, record_testsuite_property):
    widgets = shared(page).page.locator(".dgm[data-golden-error]")
    errors = widgets.evaluate_all("all => all.map(n => parseFloat(n.dataset.goldenError))")
    record_testsuite_property(f"golden_error_{page}", errors)
    assert len(errors) >= PRECISE[page][0]
    assert min(errors) >= 0
    assert 0 < max(errors) <= PRECISE[page][1]


def test_the_page_rewrites_as_pytorch_rewrites(shared):
    steered = shared(STEERING).page.locator(".dgm[data-golden-wrong]")
    steered.nth(1).wait_for()
    wrong = steered.evaluate_all("all => all.map(node => node.dataset.goldenWrong)")
    assert wrong == ["0", "0"]


def test_the_list_of_rewrites_opens_and_is_searched(shared):
    folded = shared(STEERING).page.locator("details:has(> .dgm-lines)")
    lines = folded.locator("li")
    assert not lines.first.is_visible()
    folded.locator("summary").click()
    assert lines.filter(visible=True).count() == lines.count() >= 200
    folded.get_by_role("searchbox").fill("ROOM 212")
    assert "The heater in room 212" in lines.filter(visible=True).inner_text()
    assert folded.get_by_role("status").inner_text() == f"1 of {lines.count()} lines"


@pytest.mark.parametrize("page", CHAPTERS)
def test_links_in_the_text_set_widgets_and_the_page_stays(opened, page):
    view = opened(page)
    view.settle()
    # A tour's links scroll to their widgets; what is folded cannot take the focus.
    links = view.page.locator('main a[href^="#"][href*="="]:not(.dgm-tour *)')
    links = links.filter(visible=True).all()
    assert len(links) >= 2
    for link in links:
        link.focus()
        start = link.bounding_box()["y"]
        settings = unquote(link.get_attribute("href").partition("=")[2]).split(",")
        pairs = [setting.partition(":") for setting in settings]
        words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, _, value in pairs)
        spoken = "matrix 1 and noise 0.25, from step 20 matrix 2, from step 40 noise 1"
        words = words.replace("schedule 0;0;0.25/20;1;0.25/40;1;1", spoken)
        link.press("Enter")
        view.page.get_by_text(f"Set by a link: {words}.", exact=True).wait_for(state="attached")
        view.settle()
        # What is above may have grown: the reader's place in the text stays.
        assert link.bounding_box()["y"] == pytest.approx(start, abs=1)
        assert link.evaluate("node => node === document.activeElement")
    view.assert_clean()


@pytest.mark.parametrize("page", CHAPTERS)
def test_on_a_phone_a_button_leads_from_a_pressed_link_to_its_widget(visit, serve, book, page):
    view = visit(f"{serve(book)}/{page}", viewport={"width": 390, "height": 844}).ready(2)
    view.page.emulate_media(reduced_motion="reduce")
    link = view.page.locator('main a[href^="#"][href*="="]:not(.dgm-tour *)').first
    link.press("Enter")
    lead = view.button("Show what it changed")
    lead.wait_for()
    assert view.axe("color-contrast", "button-name") == ""
    link.press("Tab")
    view.page.keyboard.press("Enter")
    lead.wait_for(state="detached")
    name = link.get_attribute("href")[1:].partition("=")[0]
    picture = view.page.locator(f'[data-widget="{name}"] .dgm-picture')
    assert -1 <= picture.bounding_box()["y"] < 200
    assert picture.evaluate("node => node.closest('.dgm').contains(document.activeElement)")
    view.assert_clean()


@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing_in_light_and_dark_and_nothing_leaves(visit, serve, book, page):
    view = visit(f"{serve(book)}/{page}")  # as it opens, whatever other tests have started in it
    view.page.wait_for_load_state("networkidle")
    assert view.axe() == ""
    view.page.evaluate(THEME, "dark")
    # The dark page differs by its colours alone.
    assert view.axe("color-contrast") == ""
    view.page.evaluate(THEME, "light")
    view.assert_clean()


@pytest.mark.parametrize("page", PAGES)
def test_bars_stay_in_forced_colours_and_in_print(shared, page):
    view = shared(page)
    view.settle()
    count, faded = view.faded_marks()
    assert faded == []
    assert count > 2 or page not in (INFORMATION, GANS, STEERING, POOLING), "these have bars"


@pytest.mark.parametrize("page", [POOLING, "book/intro.html"])
def test_widgets_whose_data_are_broken_show_their_posters(visit, serve, book, page):
    view, count = visit("about:blank"), PAGES[page].widgets
    broken = re.sub(r'(data-head="\d+"[^>]*>)[^<]+', r"\1AAAA", (book / page).read_text("utf-8"))
    answer = {"body": broken, "content_type": "text/html"}
    view.page.route(f"**/{page}", lambda route: route.fulfill(**answer))
    view.page.goto(f"{serve(book)}/{page}")
    view.page.get_by_role("alert").nth(count - 1).wait_for()
    large = """n => [...document.querySelectorAll(".dgm-view img")]
      .filter(image => image.naturalWidth > 99).length >= n"""
    view.page.wait_for_function(large, arg=count)
    sources = view.page.locator(".dgm-view img").evaluate_all("all => all.map(one => one.src)")
    assert len(set(sources)) == len(sources) >= count


@pytest.mark.parametrize("page", [POOLING, "book/notation.html"])
def test_all_works_where_storage_is_forbidden(visit, serve, book, no_storage, page):
    view = visit(f"{serve(book)}/{page}", no_storage)
    if page in PAGES:
        view.ready(PAGES[page].widgets)
    html, field = view.page.locator("html"), view.page.locator("#pst-search-dialog input")
    for _ in range(3):  # light, dark and the system's
        before = html.get_attribute("data-mode")
        view.page.locator(".theme-switch-button:visible").first.click()
        assert html.get_attribute("data-mode") != before
    view.page.keyboard.press("Control+k")
    assert field.is_visible()
    field.fill("Mapper")
    field.press("Enter")
    view.page.wait_for_url("**/search.html?q=Mapper*")
    view.page.locator("#search-results li a").first.wait_for()
    view.page.set_viewport_size({"width": 390, "height": 844})
    view.page.locator(".primary-toggle:visible").first.click()
    view.page.get_by_role("link", name="Posterior collapse").first.wait_for()
    view.assert_clean()


def test_who_chose_dark_pages_gets_light_ink_on_a_dark_frame(opened):
    view = opened("book/intro.html")
    view.page.evaluate("localStorage.setItem('mode', 'dark')")
    view.page.reload()
    view.ready(PAGES["book/intro.html"].widgets)
    assert view.page.locator("html").get_attribute("data-theme") == "dark"
    script = """node => ["backgroundColor", "color"].map(name =>
      getComputedStyle(node)[name].match(/\\d+/g).slice(0, 3).map(Number))"""
    ground, ink = np.mean(view.page.locator(".dgm").first.evaluate(script), 1)
    assert ground + 100 < ink


@pytest.fixture
def narrow(shared):
    """Return ``narrow(page) -> Visit``, 360 px wide; it gets its width back."""
    used = []

    def start(page):
        used.append(shared(page))
        used[-1].page.set_viewport_size({"width": 360, "height": 740})
        used[-1].settle()
        return used[-1]

    yield start
    for view in used:
        view.page.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize("page", PAGES)
def test_a_narrow_page_needs_no_horizontal_scroll(narrow, page):
    view = narrow(page)
    for width in (1100, 360):  # at 1100 the theme has a margin for notes, but no room for it
        view.page.set_viewport_size({"width": width, "height": 740})
        view.settle()  # drawings follow the width a frame later
        assert view.page.evaluate("document.documentElement.scrollWidth") <= width


# Formulas in lines of their own of which a part lies beyond the box that holds them.
CLIPPED = """() => [...document.querySelectorAll("mjx-container[display=true]")]
  .filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent.slice(0, 80))"""


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("page", [CHAPTER, INFORMATION, GANS])
def test_no_formula_is_clipped(shared, narrow, page, width):
    view = narrow(page)
    view.page.set_viewport_size({"width": width, "height": 844})
    view.page.wait_for_function("() => document.querySelector('mjx-container[display=true]')")
    view.settle()
    assert view.page.evaluate(CLIPPED) == []


CLAIMS = "book/claims.html"


@pytest.mark.parametrize("page", [CLAIMS, *CHAPTERS])
def test_every_verdict_is_on_a_phone_and_leads_to_its_section(visit, serve, book, page):
    view = visit(f"{serve(book)}/{page}", viewport={"width": 390, "height": 844})
    document = view.page
    tall = document.evaluate("document.documentElement.scrollHeight")
    plot = document.locator(".dgm-claims")
    assert plot.bounding_box()["height"] < (1500 if page == CLAIMS else 4500)
    assert tall <= 12_000 or page != CLAIMS
    document.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    assert plot.evaluate("node => node.scrollWidth <= node.clientWidth")
    verdicts = document.locator(".dgm-claims li .dgm-verdict")
    boxes = [verdict.bounding_box() for verdict in verdicts.all()]
    assert len(boxes) > (70 if page == CLAIMS else 9)
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    for link in {a.get_attribute("href") for a in document.locator(".dgm-claims li a").all()}:
        path, _, anchor = link.partition("#")
        target = (book / page).parent / path if path else book / page
        assert f'id="{anchor}"' in target.read_text("utf-8"), link
    small = "node => parseFloat(getComputedStyle(node).fontSize) < 11"
    words = document.locator(".dgm-scale span, summary, dd").all()
    assert not any(each.evaluate(small) for each in words)


def test_the_filter_opens_the_chapters_of_a_verdict_and_axe_finds_nothing(visit, serve, book):
    view = visit(f"{serve(book)}/{CLAIMS}")
    view.page.get_by_label("does not hold", exact=True).check()
    verdicts = view.page.locator(".dgm-claims li:visible .dgm-verdict")
    assert len({x.split("\n")[0].strip() for x in verdicts.all_inner_texts()}) == 1
    assert f"{verdicts.count()} of " in view.page.locator(".dgm-filter output").inner_text()
    assert view.axe() == ""
    view.page.evaluate(THEME, "dark")
    assert view.axe("color-contrast") == ""


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_has_a_badge_of_its_own(shared, page):
    script = """() => {
      const all = [...document.querySelectorAll("figure.dgm-figure, .dgm-table, .dgm")];
      return all.filter(one => {
        if (one.matches(".dgm")) return !one.querySelector(".dgm-badge")?.textContent;
        // In itself, in the fold that holds it, or behind it in its cell.
        const fold = one.parentElement.closest("details");
        if ((fold ?? one).querySelector(".dgm-badge")) return false;
        let next = one.closest(".output, .cell_output > *");
        while ((next = next?.nextElementSibling))
          if (next.matches(".dgm-badge") || next.querySelector(".dgm-badge")) return false;
        return true;
      }).map(one => one.textContent.slice(0, 80));
    }"""
    assert shared(page).page.evaluate(script) == []


def test_a_narrow_page_scrolls_the_piano_roll_and_does_not_shrink_it(narrow):
    heights = "all => all.map(svg => svg.getScreenCTM().d)"  # one where a key is as high as its row
    scales = narrow(HYPER).page.locator(".dgm-mu-sheet svg").evaluate_all(heights)
    assert len(scales) == 2
    assert scales == pytest.approx([1, 1], abs=0.01)


# The words that stand on others in the explorer's plot, at every seventh beta.
COVERED = """async () => {
  const root = document.querySelector(".dgm");
  const slider = root.querySelector("input[type=range]");
  const dot = root.querySelector(".dgm-rd-dot");
  const was = slider.value;
  const to = async value => {
    slider.value = value;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    for (let place; place !== (place = dot.getAttribute("transform")); )
      for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
  };
  const covered = [];
  for (let value = 0; value <= Number(slider.max); value += 7) {
    await to(value);
    const words = [...root.querySelectorAll("svg text.dgm-halo")].filter(one => one.textContent)
      .map(one => [one.textContent, one.getBoundingClientRect()]).filter(([, box]) => box.width);
    for (const [a, p] of words) for (const [b, q] of words)
      if (a < b && p.x + 1 < q.right && q.x + 1 < p.right)
        if (p.y + 3 < q.bottom && q.y + 3 < p.bottom) covered.push(`${value}: ${a} | ${b}`);
  }
  await to(was);
  return covered;
}"""


@pytest.mark.parametrize("width", [1280, 360])
def test_no_word_of_the_explorer_stands_on_another(shared, narrow, width):
    view = shared(CHAPTER) if width == 1280 else narrow(CHAPTER)
    assert view.page.locator("svg text.dgm-halo").count() > 8
    assert view.page.evaluate(COVERED) == []


@pytest.mark.timing
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_first_load_is_light_and_its_widgets_are_quick(
    visit, serve, book, slowness, record_testsuite_property, chapter
):
    root, first = serve(book), 1500 * slowness
    view = visit(f"{root}/{chapter}")
    view.page.wait_for_function(EQUATIONS)
    view.page.wait_for_load_state("networkidle")
    size = view.received()
    view.page.add_init_script(FIRST_ANSWER)
    times = []
    # The least of several, since other work on this machine only delays.
    while not times or (times[-1] >= first and len(times) < 10):
        view.page.goto(f"{root}/{chapter}", wait_until="networkidle")
        view.page.wait_for_function("() => window.firstAnswer")
        times.append(view.page.evaluate("window.firstAnswer"))
    record_testsuite_property(f"bytes_{chapter}", size)
    record_testsuite_property(f"first_answer_ms_{chapter}", times)
    assert 0 < size <= PAGES[chapter].most_bytes
    record_testsuite_property("slowness", slowness)
    assert min(times) < first
    view.ready(PAGES[chapter].widgets).settle()
    most, widgets = slowness * PAGES[chapter].most_milliseconds, view.page.locator(".dgm")
    for index in range(widgets.count()):
        if not widgets.nth(index).get_by_role("slider").count():
            continue  # a widget that is typed into has its own test
        p95 = view.p95(most, functools.partial(view.sweep, index, 60))
        record_testsuite_property(f"frame_p95_ms_{chapter}_{index}", p95)
        assert p95 < most
