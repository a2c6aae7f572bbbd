"""A real Chromium that may talk to this machine only, and small pages to open in it."""

import functools
import io
import json
import os
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from ipywidgets import embed
from PIL import Image

from dgm_book.widgets.frame import FOLDER

ROOT = Path(__file__).parents[2]
BOOK = Path(os.environ.get("DGM_BOOK", ROOT / "_build" / "html"))
LOADER = ROOT / "book" / "_static" / "widgets.js"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Playwright's own list, which this replaces, and the process that waits for a next page: it
    # doubles what a page costs.
    "--disable-features=DestroyProfileOnBrowserClose,HttpsUpgrades,MediaRouter,OptimizationHints,"
    "PaintHolding,RenderDocument,SpareRendererForSitePerProcess,Translate",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]
# The theme logs this once a page; nothing else is let through.
THEME_MESSAGE = "Got invalid theme mode: . Resetting to auto."

SWEEP = """async ([index, steps, place]) => {
  const widget = document.querySelectorAll(".dgm")[index];
  const slider = widget.querySelectorAll("input[type=range]")[place];
  const [low, high] = [Number(slider.min), Number(slider.max)];
  performance.clearMeasures();
  for (let i = 0; i < steps; i++) {
    slider.value = low + (high - low) * (0.5 + 0.5 * Math.sin(i / 9));
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise(requestAnimationFrame);
  }
}"""

# Two frames as well as a time, so that a busy machine gets longer.
SETTLE = """async () => {
  const drawn = () => performance.getEntriesByType("measure")
    .filter(entry => entry.name.startsWith("dgm:")).length;
  const wait = ms => new Promise(done => setTimeout(done, ms));
  const frame = () => new Promise(requestAnimationFrame);
  const busy = () => document.querySelector(".dgm [aria-busy=true]");
  let [before, rounds] = [-1, 0];
  while (before !== (before = drawn()) || (busy() && rounds++ < 90)) {
    await frame();
    await frame();
    await wait(80);
  }
}"""


# What a widget shows by a painted box alone, without text or parts: where it stands in the widget,
# and whether print leaves it.
MARKS = """widget => {
  const frame = widget.getBoundingClientRect();
  const clear = colour => /^rgba\\(.*, 0\\)$/.test(colour) || colour === "transparent";
  return [...widget.querySelectorAll("span, div")].flatMap(node => {
    const [style, box] = [getComputedStyle(node), node.getBoundingClientRect()];
    const borders = ["Top", "Right", "Bottom", "Left"].filter(side =>
      parseFloat(style[`border${side}Width`]) >= 1 && !clear(style[`border${side}Color`]));
    const filled = !clear(style.backgroundColor) || style.backgroundImage !== "none";
    const empty = !node.childNodes.length && box.width >= 2 && box.height >= 2;
    if (!empty || !(borders.length || filled)) return [];
    const printed = borders.length > 0 || style.printColorAdjust === "exact";
    const place = [box.x - frame.x, box.y - frame.y, box.width, box.height];
    return [{ name: node.className, printed, place }];
  });
}"""

CONTROLS = """() => [...document.querySelectorAll(".dgm-body :is(input, select, textarea)")]
  .map(n => [n.labels[0]?.textContent, /radio|checkbox/.test(n.type) ? n.checked : n.value])"""

READY = """n => {
  document.querySelector(".dgm-load:enabled")?.click();
  return document.querySelectorAll(".dgm-view[data-ready=yes] .dgm").length >= n;
}"""

FORBIDDEN = """for (const name of ["localStorage", "sessionStorage"]) {
  const get = () => { throw new DOMException("No", "SecurityError"); };
  Object.defineProperty(window, name, { configurable: true, get });
}"""

# A kernel's side of a widget, with no server between.
KERNEL = """async ([source, state, bytes, weights]) => {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  const listeners = [];
  const view = values => new DataView(Uint8Array.from(values).buffer);
  for (const [name, values] of Object.entries(bytes)) state[name] = view(values);
  if (weights) {
    const packed = { data: view(weights.data), header: weights.header };
    state.weights = { get: name => packed[name] };
  }
  if (state.others) state.others = state.others.map(other => new Map(
    Object.entries({ data: view(other.data), header: other.header })));
  globalThis.kernel = {
    state, saved: 0,
    get: name => state[name],
    set(name, value) {
      state[name] = value;
      for (const l of [...listeners]) if (l[0] === `change:${name}`) l[1]();
    },
    save_changes() { this.saved++; },
    on: (...pair) => listeners.push(pair),
    off: (name, f) => listeners.splice(listeners.findIndex(l => l[0] === name && l[1] === f), 1),
    left: () => listeners.length,
  };
  globalThis.stop = await widget.render({ model: kernel, el: document.body });
}"""


def find_chromium(playwright) -> str | None:
    """Return a Chromium's path: the system's, else the one that Playwright installed."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            reason = "no Chromium: run `make chromium`, or `playwright install chromium`"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def book():
    """The folder of the built book; without one the test is skipped, or fails where CI=true."""
    if not (BOOK / "book" / "intro.html").exists():
        reason = f"no built book in {BOOK}: run `make book` first"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return BOOK


class Visit:
    """A page with what went wrong on it."""

    def __init__(self, page):
        self.page = page
        self.foreign, self.problems, self.finished = [], [], []
        page.on("request", self._request)
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("console", self._console)
        page.on("requestfailed", lambda one: self.problems.append(f"failed: {one.url[:200]}"))
        page.on("requestfinished", lambda request: self.finished.append(request))

    def _request(self, request):
        here = ("http://127.0.0.1", "http://localhost", "file:", "data:", "blob:")
        if not request.url.startswith(here):
            self.foreign.append(request.url)

    def _console(self, message):
        if message.type == "error" and message.text != THEME_MESSAGE:
            self.problems.append(f"console: {message.text}")

    def received(self):
        """Return how many bytes of answers have arrived over http."""
        answers = [request for request in self.finished if request.url.startswith("http")]
        return sum(request.sizes()["responseBodySize"] for request in answers)

    def pictures(self):
        script = "canvases => canvases.map(canvas => canvas.toDataURL())"
        return self.page.locator("canvas").evaluate_all(script)

    def ready(self, count):
        """Use what waits for that; wait until so many widgets have started, and each has drawn."""
        self.page.wait_for_function(READY, arg=count)
        self.page.wait_for_function("() => performance.getEntriesByType('measure').length > 0")
        return self

    def axe(self, *rules):
        """Return what axe-core reports of the page, by all rules if none is named."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        # What passes is not reported, which takes longest; no rule asks for the style sheets, which
        # axe would load again.
        options = {"resultTypes": ["violations"], "preload": False}
        if rules:
            options["runOnly"] = {"type": "rule", "values": list(rules)}
        results = axe.run(self.page, options=options)
        return results.generate_report() if results.violations_count else ""

    def frames(self):
        """Return how long each frame that a widget drew took, in ms."""
        return self.page.evaluate(
            "performance.getEntriesByType('measure').filter(e => e.name.startsWith('dgm:'))"
            ".map(e => e.duration)"
        )

    def sweep(self, index, steps=120, place=0):
        """Move one slider of one widget so many times and return its frames in ms."""
        self.page.evaluate(SWEEP, [index, steps, place])
        return self.frames()

    def p95(self, most, measure=None):
        """Return the least of up to five 95th percentiles of what `measure` returns, in ms.

        Other work on this machine may hold up one round, a slow widget all. The default sweeps the
        first widget.
        """
        rounds = []
        while not rounds or (rounds[-1] >= most and len(rounds) < 5):
            frames = measure() if measure else self.sweep(0, 60)
            assert len(frames) >= 50
            rounds.append(float(np.percentile(frames, 95)))
        return min(rounds)

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)

    def slider(self, name):
        return self.page.get_by_role("slider", name=name)

    def radio(self, name):
        return self.page.get_by_role("radio", name=name, exact=True)

    def drag(self, start, *places, steps=4):
        self.page.mouse.move(*start)
        self.page.mouse.down()
        for place in places:
            self.page.mouse.move(*place, steps=steps)
        self.page.mouse.up()

    def touch(self, x, y, *moves):
        """Put a finger down, move it by each of the steps, and lift it."""
        client = self.page.context.new_cdp_session(self.page)
        places = [(x, y)]
        for dx, dy in moves:
            places.append((places[-1][0] + dx, places[-1][1] + dy))
        for i, (x, y) in enumerate(places):
            options = {
                "type": "touchMove" if i else "touchStart",
                "touchPoints": [{"x": x, "y": y}],
            }
            client.send("Input.dispatchTouchEvent", options)
            self.drawn()
        client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def drawn(self):
        twice = "() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"
        self.page.evaluate(twice)

    def controls(self):
        return self.page.evaluate(CONTROLS)

    def settle(self):
        self.page.evaluate(SETTLE)

    def faded_marks(self):
        """Return the count of bars and signs, and those that forced colours or print take away."""
        count, faded = 0, []
        size = self.page.viewport_size
        # A picture of what is higher than the window is taken while the page is laid out anew.
        self.page.set_viewport_size({"width": size["width"], "height": 2400})
        self.settle()
        for widget in self.page.locator(".dgm").all():
            marks = widget.evaluate(MARKS)
            self.page.emulate_media(forced_colors="active")
            self.settle()
            picture = np.array(Image.open(io.BytesIO(widget.screenshot())).convert("RGB"), int)
            self.page.emulate_media(forced_colors="none")
            ground = picture[3, 3]
            for mark in marks:
                x, y, width, height = (round(v) for v in mark["place"])
                part = picture[max(0, y) : y + height, max(0, x) : x + width]
                if part.size:
                    count += 1
                    visible = np.abs(part - ground).sum(-1).max() > 150
                    faded += [mark["name"]] * (not visible or not mark["printed"])
        self.page.set_viewport_size(size)
        return count, faded

    def assert_clean(self):
        assert self.foreign == []
        assert self.problems == []


# Milliseconds of a fixed loop: the least of seven.
LOOP = """() => Math.min(...Array.from({ length: 7 }, () => {
  const [start, values] = [performance.now(), new Float64Array(4096)];
  for (let k = 0; k < 2000; k++)
    for (let i = 0; i < 4096; i++) values[i] = 0.999 * values[i] + Math.sqrt(i + k);
  return performance.now() - start;
}))"""
LOOP_MS, SLOWEST = 20, 2.5  # of a machine that is to keep the limits, and at most so much slower


@pytest.fixture(scope="session")
def slowness(browser):
    """How many times slower than asked for this machine is, from 1 to 2.5: limits grow by it."""
    page = browser.new_page()
    slow = page.evaluate(LOOP) / LOOP_MS
    page.close()
    print(f"a fixed loop takes {slow:.2f} times as long as on the machine that limits are for")
    return min(SLOWEST, max(1.0, slow))


def _open(browser, **options):
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(20_000)
    return context.new_page()


@pytest.fixture
def visit(browser):
    """Return ``open(url, script="", **context options) -> Visit`` of a page of its own.

    A `script` runs before the page's own.
    """
    contexts = []

    def open_page(url, script="", **options):
        view = Visit(_open(browser, **options))
        contexts.append(view.page.context)
        view.page.add_init_script(script)
        view.page.goto(url)
        return view

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def no_storage():
    """Return a script that forbids a page its storage."""
    return FORBIDDEN


@pytest.fixture
def opened(tmp_path, write_page, visit):
    """Return ``opened(*widgets, script=, **options)``: a page of them, at rest."""

    def start(*widgets, script="", **options):
        path = write_page(tmp_path, *widgets)
        view = visit(path.as_uri(), script, **options).ready(len(widgets))
        view.settle()
        return view

    return start


@pytest.fixture
def kernel_page(visit):
    """Return ``live(widget, script="") -> Visit`` of a widget whose kernel is `kernel` there."""

    def start(widget, script=""):
        state, bytes_, weights = widget.get_state(), {}, getattr(widget, "weights", None)
        for name in ("_esm", "_css", "layout", "tabbable", "tooltip", "weights"):
            state.pop(name, None)
        if "others" in state:
            others = [{"data": list(w.data), "header": w.header} for w in widget.others]
            state["others"] = others
        for name in [k for k, v in state.items() if isinstance(v, (bytes, memoryview))]:
            bytes_[name] = list(bytes(state.pop(name)))
        if weights is not None:
            weights = {"data": list(weights.data), "header": weights.header}
        view = visit("about:blank")
        if script:
            view.page.evaluate(f"() => {{ {script} }}")
        view.page.evaluate(KERNEL, [widget._esm, state, bytes_, weights])
        return view

    return start


@pytest.fixture(scope="module")
def visit_once(browser):
    """Return ``open(url) -> Visit``, for pages that several tests share: they stay open."""
    contexts = []

    def open_page(url):
        view = Visit(_open(browser))
        contexts.append(view.page.context)
        view.page.goto(url)
        return view

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def page_of(visit_once, serve):
    """Return ``open(*names) -> page`` which holds what modules of the widgets' sources export."""
    folder = FOLDER / "src"

    def open_page(*names):
        page = visit_once(serve(folder)).page
        for name in names:
            page.evaluate("async name => Object.assign(globalThis, await import(name))", f"/{name}")
        return page

    return open_page


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def serve():
    servers = []

    def start(folder):
        handler = functools.partial(_Quiet, directory=str(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def write_page():
    """Return ``write_page(folder, *widgets) -> path`` of a page that holds them."""
    return _write_page


def _write_page(folder, *widgets, states=None):
    """Write a page that holds the widgets as myst-nb does, and return its path."""
    states = states or [embed.dependency_state(widgets, drop_defaults=False)]
    script = '<script type="application/vnd.jupyter.widget-{}+json">{}</script>'
    holders = "\n".join(
        script.format("state", json.dumps({"version_major": 2, "version_minor": 0, "state": state}))
        for state in states
    )
    poster = '<noscript><img src="data:image/png;base64,{}" alt="{!r}"></noscript>'
    views = "\n".join(
        f'<div class="cell_output docutils container">'
        f"{script.format('view', json.dumps({'model_id': widget.model_id}))}"
        f"{poster.format(widget._repr_mimebundle_()[0].get('image/png'), widget)}</div>"
        for widget in widgets
    )
    path = Path(folder) / "page.html"
    shutil.copy(LOADER, path.parent)
    path.write_text(
        '<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'  # or Chromium asks the server for one
        "<title>Widgets</title><script src='widgets.js'></script><style>"
        "html{background:#fff;color:#222832;--pst-color-text-base:#222832;"
        "--pst-color-text-muted:#48566b;--pst-color-background:#fff}"
        "main{max-width:50rem;margin:auto}body{margin:0 8px}</style></head>"
        f"<body><main><h1>Widgets</h1>{views}</main>{holders}</body></html>",
        encoding="utf-8",
    )
    return path
