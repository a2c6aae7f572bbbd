"""Films the chapters' first widgets for the introduction: after `make posters`.

python tests/tools/moving_thumbnails.py _build/html [NAME ...]    # of chapters, or all

Each film goes through the states that `book/chapters.yaml` lists under `moves`, in the frame of the
widget's poster; a thumbnail shows it while it is pointed at.
"""

import io
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

import yaml
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from posters import STYLE

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "book/_static/moving"
BYTES, WIDTH, MILLISECONDS = 100_000, 400, 700
NARROW = {"04_controllable_text_vae": 420, "05_pooling_vae": 640}  # as their posters
IDLE = "() => !document.querySelector('.dgm [aria-busy=true]')"
SIDE = "(root, value) => { root.querySelector('.dgm-side').style.display = value; }"


def film(page: Page, chapter: dict, poster: Path) -> list[Image.Image]:
    """The pictures of a film: one a state, or one a second after a button is pressed."""
    widget = page.locator(".dgm-view .dgm").first
    widget.wait_for()
    page.wait_for_timeout(3000)
    width, height = Image.open(poster).size
    # As the poster was taken: with read-outs, or without.
    heights, wide = [], widget.bounding_box()["width"]
    for display in ("", "none"):
        widget.evaluate(SIDE, display)
        heights.append(widget.bounding_box()["height"])
    nearest = min(heights, key=lambda each: abs(each - height * wide / width))
    widget.evaluate(SIDE, "" if nearest == heights[0] else "none")
    frames = []
    for move in chapter["moves"]:
        if "=" in move:
            page.evaluate("hash => { location.hash = hash; }", quote(move, safe="=:,;/"))
            page.wait_for_timeout(1200)
            page.wait_for_function(IDLE)
        elif not frames:
            widget.locator("button", has_text=move).first.evaluate("one => one.click()")
        else:
            page.wait_for_timeout(4000)
        picture = Image.open(io.BytesIO(widget.screenshot(animations="disabled"))).convert("RGB")
        whole = picture.width, round(picture.width * height / width)
        ground = Image.new("RGB", whole, "white")
        ground.paste(picture)
        size = WIDTH, round(WIDTH * height / width)
        frames.append(ground.resize(size, Image.Resampling.LANCZOS))
    return frames


def main(html: Path, chosen: list[str]) -> None:
    """Writes the films of the chosen chapters, or of all."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(color_scheme="light")
        page.set_default_timeout(60_000)
        for chapter in yaml.safe_load((ROOT / "book/chapters.yaml").read_text("utf-8")):
            name = chapter["page"].rpartition("/")[2]
            if chosen and name not in chosen:
                continue
            page.set_viewport_size({"width": NARROW.get(name, 720), "height": 2400})
            page.goto((html / f"{chapter['page']}.html").as_uri())
            page.add_style_tag(content=STYLE)
            if page.locator(".dgm-load").count():
                page.locator(".dgm-load").first.click()
            frames = film(page, chapter, html / f"_static/posters/{name}-0.png")
            frames += frames[-2:0:-1] if "=" in chapter["moves"][0] else []
            target = FOLDER / f"{name}.webp"
            options = {"save_all": True, "append_images": frames[1:], "loop": 0}
            frames[0].save(target, duration=MILLISECONDS, quality=40, method=6, **options)
            size = target.stat().st_size
            print(f"{target.name}: {len(frames)} pictures, {size} bytes", flush=True)
            if size > BYTES:
                raise SystemExit(f"a film takes at most {BYTES} bytes")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
