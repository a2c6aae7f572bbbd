"""What one test does to a page does not reach the next one that gets it."""

from collections import defaultdict

import pytest

PAGE = "<link rel='icon' href='data:,'><title>A</title><button>A</button>"
STATE = """async () => {
  for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
  return [
    typeof left, innerWidth, scrollY, document.activeElement.tagName,
    document.querySelectorAll("p").length, performance.getEntriesByType("measure").length,
    document.querySelector("button").matches(":hover"),
  ];
}"""


def test_a_page_that_was_left_is_as_new(browser, visits, tmp_path):
    (tmp_path / "page.html").write_text(PAGE)
    url, left = (tmp_path / "page.html").as_uri(), defaultdict(list)
    with visits(browser, left) as visit:
        first = visit(url)
        new = first.page.evaluate(STATE)
        first.page.evaluate(
            "() => { globalThis.left = 1; performance.measure('dgm:x');"
            " document.body.append(document.createElement('p'), 'far '.repeat(99999));"
            " scrollTo(0, 900); }"
        )
        first.page.set_viewport_size({"width": 360, "height": 740})
        first.page.get_by_role("button").focus()
        first.page.mouse.move(20, 20)
        first.page.mouse.down()
    (pages,) = left.values()
    assert pages == [first.page]
    assert first.page.url == "about:blank", "what it did goes on"
    with visits(browser, left) as visit:
        second = visit(url)
        assert second.page is first.page
        assert second.page.evaluate(STATE) == new
        second.page.evaluate("console.error('second')")
        assert (first.problems, second.problems) == ([], ["console: second"])
        assert visit(url).page is not second.page, "two at a time are two"
    (page,) = pages  # the other one has told of a problem
    page.context.close()


def test_what_is_kept_or_broken_is_not_handed_on(browser, visits, serve, tmp_path):
    (tmp_path / "page.html").write_text(PAGE)
    url, left = f"{serve(tmp_path)}/page.html", defaultdict(list)
    with visits(browser, left) as visit:
        visit(url, fresh=True).page.evaluate("localStorage.setItem('a', 1)")
        visit(url).page.evaluate("console.error('broken')")
    with visits(browser, left, alone=True) as visit:
        visit(url)
    assert not any(left.values())
    refused = pytest.raises(AssertionError, match="fresh=True")
    with refused, visits(browser, left) as visit:
        tab = visit(url)
        tab.page.evaluate("localStorage.setItem('a', 1)")
    tab.page.context.close()
