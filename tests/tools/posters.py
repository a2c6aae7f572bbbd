"""Takes the widgets' posters from the built book: `make posters`, after `make book`.

python tests/tools/posters.py _build/html

Each shows a widget as its page opens, in the light theme, for PDFs and pages without JavaScript.
"""

import base64
import io
import json
import shutil
import sys
import zlib
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "lib/dgm_book/widgets/posters"
BYTES = 25_000
# Nobody can move a slider on paper. Those that wait for a press are narrow.
NARROW = {"SentenceSteering": 420, "InfluenceRuler": 640}
HIDDEN = ".dgm:not(.dgm-steer) :is(.dgm-controls > :not(svg), .dgm-slider), .dgm-hint, .dgm-reset"
HIDDEN += ", .dgm-foot, .dgm-tabs, .dgm-more, .dgm-how"
HIDDEN += ", :is(.dgm-steer, .dgm-enc:not(.dgm-enc-tau)) .dgm-side"
STYLE = HIDDEN + ", #pst-back-to-top { display: none !important }"
# What is tried in turn: the share of the pixels that stay, and whether the read-outs do.
ATTEMPTS = ((1.0, True), (1.0, False), (0.7, False), (0.5, False))


def classes(page: Page) -> list[str]:
    """The class of each widget that a page shows, in its order."""
    (packed,) = page.locator("script[type='application/x-dgm-state']").all()
    data = zlib.decompress(base64.b64decode(packed.text_content()))
    state = json.loads(data[: int(packed.get_attribute("data-head"))])["state"]
    views = page.locator("script[type='application/vnd.jupyter.widget-view+json']").all()
    models = [json.loads(view.text_content())["model_id"] for view in views]
    return [state[model]["state"]["_anywidget_id"].rpartition(".")[2] for model in models]


def compressed(picture: bytes, scale: float) -> bytes:
    """A screenshot as a PNG of as many colours as `BYTES` allow, 16 at least."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image = image.resize([round(scale * side) for side in image.size], Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    for colours in (64, 32, 16):
        stream = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
        if stream.tell() <= BYTES:
            break
    return stream.getvalue()


def poster(page: Page, widget: Locator) -> bytes:
    """A picture of one widget of a page."""
    widget.scroll_into_view_if_needed()
    widget.wait_for()
    page.wait_for_timeout(1500)
    for scale, with_readouts in ATTEMPTS:
        if not with_readouts:
            for part in widget.locator(".dgm-side > :not(figure)").all():
                part.evaluate("node => node.style.display = 'none'")
        picture = compressed(widget.screenshot(animations="disabled"), scale)
        if len(picture) <= BYTES:
            return picture
    raise SystemExit(f"a picture of a widget takes more than {BYTES} bytes")


def take_posters(html: Path) -> None:
    """Write a poster for each class of widget in the built book."""
    # The system's Chromium, else Playwright's own.
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        options = {"color_scheme": "light", "reduced_motion": "reduce"}
        page = browser.new_page(viewport={"width": 720, "height": 2400}, **options)
        for path in sorted(html.glob("notebooks/*.html")):
            page.goto(path.as_uri())
            page.add_style_tag(content=STYLE)
            if page.locator(".dgm-load").count():
                page.locator(".dgm-load").first.click()
            names = classes(page)
            for name, view in zip(names, page.locator(".dgm-view").all(), strict=True):
                page.set_viewport_size({"width": NARROW.get(name, 720), "height": 2400})
                picture = poster(page, view.locator(".dgm"))
                (FOLDER / f"{name}.png").write_bytes(picture)
                print(f"{name}: {len(picture)} bytes")
        browser.close()


if __name__ == "__main__":
    take_posters(Path(sys.argv[1]).resolve())
