"""When each page shows its largest part, and how soon its sliders answer, in milliseconds.

    python tests/tools/page_speed.py _build/html 4

In Chromium with its processor slowed so many times: the largest contentful paint of three visits;
over 20 presses of a key on each of the first four sliders, the 95th percentile from the key to the
next picture (Event Timing API; less than 16 ms, or no change of the picture, counts as 16).
"""

import sys
from pathlib import Path

import book_pdf
import numpy as np
from playwright.sync_api import Page, sync_playwright

WATCH = """() => {
  window.paint = 0;
  window.keys = [];
  new PerformanceObserver(list => { window.paint = list.getEntries().at(-1).startTime; })
    .observe({ type: "largest-contentful-paint", buffered: true });
  new PerformanceObserver(list => list.getEntries().forEach(
    event => event.name === "keydown" && window.keys.push(event.duration)
  )).observe({ type: "event", durationThreshold: 16 });
}"""


def speed(page: Page, address: str) -> str:
    """A page's figures in words."""
    paints, times, pressed = [], [], 0
    for _ in range(3):
        page.goto(address, wait_until="networkidle")
        page.evaluate(WATCH)
        page.wait_for_timeout(1000)
        paints.append(page.evaluate("paint"))
    page.evaluate("document.querySelectorAll('.dgm-load').forEach(button => button.click())")
    page.wait_for_timeout(8000)
    for slider in page.locator(".dgm input[type=range]:visible:enabled").all()[:4]:
        slider.focus()
        page.wait_for_timeout(500)
        for press in range(20):
            page.keyboard.press("ArrowLeft" if press % 8 > 3 else "ArrowRight")
            page.wait_for_timeout(400)
        pressed += 20
        times += page.evaluate("keys.splice(0).filter(time => time < 1600)")
    p95 = np.quantile([*times, *[16.0] * (pressed - len(times))], 0.95)
    return f"largest paint {np.round(paints)}, key to picture {p95:.0f} at p95 (n = {pressed})"


def main(book: Path, slower: float) -> None:
    """Prints a line a chapter."""
    root = book_pdf.served(book)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**book_pdf.CHROMIUM)
        for file in sorted(book.glob("notebooks/0*.html")):
            page = browser.new_page()
            session = page.context.new_cdp_session(page)
            session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
            print(file.stem, speed(page, f"{root}/notebooks/{file.name}"), flush=True)
            page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
