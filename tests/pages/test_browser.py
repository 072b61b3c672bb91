"""The built book in a browser whose network is off: `make book`, then `make pages`.

Each page is opened as a file, as a reader who built the book does, and some also from a server on
this machine, as on the web. Pictures of what was seen are left in ``_build/screenshots``.
"""

import functools
import http.server
import threading
from pathlib import Path

import pytest
import yaml

from tests.pages.devtools import Browser, find_chromium
from tools.check_pages import toc_files

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
SCREENSHOTS = ROOT / "_build" / "screenshots"
PAGES = toc_files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))


def pages_with(figure: str) -> list[str]:
    """Names of the built pages that hold such a figure."""
    built = ((name, HTML / f"{name}.html") for name in PAGES)
    return [n for n, path in built if path.is_file() and f'class="{figure}' in path.read_text()]


SLIDERS, EXPLORERS = pages_with("minisd-slider"), pages_with("minisd-explorer")

pytestmark = [
    pytest.mark.pages,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed"),
]


@pytest.fixture(scope="module")
def browser():
    browser = Browser(find_chromium())
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def served():
    """Serve the book on this machine and give its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=HTML)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["file", "served"])
def base(request):
    """The book's address, as a file and from a server."""
    return HTML.as_uri() if request.param == "file" else request.getfixturevalue("served")


def foreign(page, base):
    """Requests to anywhere but the book itself."""
    return [url for url in page.requests if not url.startswith((base, "data:", "blob:"))]


def faults(page, base):
    """List what a reader would miss on a page: scripts, pictures, formulas; and foreign requests."""
    unset = "[...document.querySelectorAll('.math')].filter(m => !m.querySelector('mjx-container'))"
    blank = "[...document.images].filter(i => i.complete && !i.naturalWidth)"
    return {
        "console": page.errors,
        "foreign": foreign(page, base),
        "formulas that are not set": page.evaluate(f"{unset}.map(m => m.textContent)"),
        "formulas that are wrong": page.evaluate(
            "[...document.querySelectorAll('mjx-merror')].map(m => m.dataset.mjxError)"
        ),
        "pictures that do not load": page.evaluate(f"{blank}.map(i => i.src.slice(0, 80))"),
    }


def overflow(page):
    """How many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def shown_frames(page):
    """For each slider, the indices of the frames that are to be seen."""
    return page.evaluate(
        "[...document.querySelectorAll('figure.minisd-slider')].map(f => [...f.querySelectorAll('img')]"
        ".flatMap((m, k) => m.checkVisibility() ? [k] : []))"
    )


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole_without_a_network(browser, name):
    base = HTML.as_uri()
    with browser.open(f"{base}/{name}.html") as page:
        page.screenshot(SCREENSHOTS / f"{name.replace('/', '-')}.png")
        found = faults(page, base)
    assert not any(found.values()), found


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_on_a_phone(browser, name):
    with browser.open(f"{HTML.as_uri()}/{name}.html", width=390, height=800) as page:
        page.screenshot(SCREENSHOTS / f"{name.replace('/', '-')}-phone.png")
        assert overflow(page) <= 0


def test_first_page_leads_to_the_welcome(browser, base):
    with browser.open(f"{base}/index.html") as page:
        page.wait_for("location.pathname.endsWith('/book/index.html')")
        page.wait_for("document.readyState === 'complete'")
        found = faults(page, base)
    assert not any(found.values()), found


def test_book_has_sliders_and_an_explorer():
    assert SLIDERS
    assert EXPLORERS


@pytest.mark.parametrize("name", SLIDERS)
def test_slider_moves_without_a_kernel(browser, base, name):
    with browser.open(f"{base}/{name}.html") as page:
        frames = shown_frames(page)
        assert all(len(shown) == 1 for shown in frames), frames
        for index in range(len(frames)):
            slider = f"document.querySelectorAll('figure.minisd-slider')[{index}]"
            page.evaluate(f"{slider}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
            page.evaluate(f"{slider}.querySelector('input[type=range]').focus()")
            page.press("Home", 36)
            assert shown_frames(page)[index] == [0]
            first = page.evaluate(f"{slider}.querySelector('output').textContent")
            page.press("ArrowRight", 39)
            assert shown_frames(page)[index] == [1]
            assert page.evaluate(f"{slider}.querySelector('output').textContent") != first
            page.screenshot(SCREENSHOTS / f"{name.replace('/', '-')}-slider-{index}.png")
        assert page.errors == []


@pytest.mark.parametrize("name", EXPLORERS)
def test_explorer_moves_without_a_kernel(browser, base, name):
    with browser.open(f"{base}/{name}.html") as page:
        figure = "document.querySelector('figure.minisd-explorer')"
        window = f"{figure}.querySelector('[role=img]')"

        def told():
            """What the window says, and where its sheet is."""
            return page.evaluate(
                f"[{window}.getAttribute('aria-label'), {window}.style.backgroundPositionY]"
            )

        seen = [told()]
        for control in ("select", "input:nth-of-type(1)"):
            found = f"{figure}.querySelectorAll('{control}')"
            for index in range(page.evaluate(f"{found}.length")):
                page.evaluate(f"{found}[{index}].value = 1; {found}[{index}].oninput()")
                seen.append(told())
        assert len({label for label, _ in seen}) == len(seen) == 4
        assert len({place for _, place in seen}) == len(seen)
        page.evaluate(f"{figure}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        page.screenshot(SCREENSHOTS / f"{name.replace('/', '-')}-explorer.png")
        assert page.errors == []


def test_search_finds_a_word(browser, base):
    with browser.open(f"{base}/search.html?q=variance") as page:
        page.wait_for("document.querySelector('#search-results p')?.innerText.includes('found')")
        links = page.evaluate(
            "[...document.querySelectorAll('#search-results li a')].map(a => a.href)"
        )
        page.screenshot(SCREENSHOTS / "search.png")
        assert any("/book/front/notation.html" in link for link in links)
        assert page.errors == []
        assert foreign(page, base) == []


def test_light_and_dark(browser, base):
    with browser.open(f"{base}/book/front/notation.html") as page:
        seen = {}
        for _ in range(3):
            page.evaluate("document.querySelector('.theme-switch-button').click()")
            theme = page.evaluate("document.documentElement.dataset.theme")
            # A colour as "rgb(r, g, b)"; its sum tells light from dark.
            seen[theme] = page.evaluate(
                "[document.body, document.querySelector('article p')].map((e, i) => "
                "getComputedStyle(e)[i ? 'color' : 'backgroundColor'].match(/[0-9.]+/g).slice(0, 3)"
                ".reduce((sum, level) => sum + Number(level), 0))"
            )
            page.wait_for("document.getAnimations().every(a => a.playState === 'finished')")
            page.screenshot(SCREENSHOTS / f"notation-{theme}.png")
        assert page.errors == []
    ground, text = seen["dark"]
    assert ground < 150
    assert text > 500
    ground, text = seen["light"]
    assert ground > 700
    assert text < 200


def test_these_checks_see_what_they_are_for(browser, tmp_path):
    (tmp_path / "bad.html").write_text("""
<!doctype html><title>Bad</title><div class="math">x</div><mjx-merror data-mjx-error="No">
</mjx-merror><img src="absent.png"><div style="width: 2000px">wide</div>
<script src="https://example.org/a.js"></script><script>console.error("told")</script>
<script>undefined.thrown</script>
<figure class="minisd-slider"><img src="data:,"><img src="data:," style="display: none"></figure>
""")
    base = tmp_path.as_uri()
    with browser.open(f"{base}/bad.html") as page:
        found = faults(page, base)
        assert all(found.values()), found
        assert any("told" in error for error in page.errors)
        assert any("thrown" in error for error in page.errors)
        assert found["foreign"] == ["https://example.org/a.js"]
        assert overflow(page) > 0
        assert shown_frames(page) == [[0]]
    with pytest.raises(FileNotFoundError):
        browser.open(f"{base}/absent.html")
