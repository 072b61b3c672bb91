"""The check of the built pages passes a sound book and names each fault of an unsound one."""

import subprocess
import sys

import pytest

from tools import check_pages

TOC = """
format: jb-book
root: book/index
parts:
  - caption: Diffusion
    chapters:
      - file: book/diffusion/forward
        sections:
          - file: book/diffusion/more
"""
CONFIG = "repository: {url: https://github.com/owner/name, branch: main}"
WORDS = "<p>" + "Words that fill the page. " * 6 + "</p>"
LINKS = """
<a href="https://github.com/owner/name/edit/main/book/diffusion/forward.ipynb">edit</a>
<a href="https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/book/diffusion/forward.ipynb">run</a>
<a href="https://colab.research.google.com/github/owner/name/blob/main/book/diffusion/forward.ipynb">run</a>
<a href="../../_sources/book/diffusion/forward.ipynb">download</a>
"""
FIGURE = (
    '<div class="cell_output"><figure><img src="../../_images/a.png" alt="A disc">'
    "<figcaption>A disc.</figcaption></figure></div>"
)


def text_page(name):
    return f"""
<html><body><article><h1>A title</h1>{WORDS}</article>
<a href="https://github.com/owner/name/edit/main/book/{name}.md">edit</a>
<a href="{"../" * name.count("/")}../_sources/book/{name}.md">download</a></body></html>
"""


@pytest.fixture
def book(tmp_path):
    """A small book that is sound: three pages, a style, a picture and links."""
    files = {
        "_toc.yml": TOC,
        "_config.yml": CONFIG,
        "book/index.md": "",
        "book/diffusion/forward.ipynb": "",
        "book/diffusion/more.md": "",
        "html/index.html": '<meta http-equiv="Refresh" content="0; url=book/index.html">',
        "html/book/index.html": text_page("index"),
        "html/book/diffusion/more.html": text_page("diffusion/more"),
        "html/book/diffusion/forward.html": f"""
<html><head><link rel="stylesheet" href="../../_static/a.css?v=1"><style>p {{ color: red }}</style>
<script src="../../_static/a.js"></script></head><body>{LINKS}<article><h1 id="top">The title</h1>
{WORDS}<a href="../index.html">back</a> <a href="#top">up</a> <a href="more.html#">on</a>
<a href="https://arxiv.org/abs/2006.11239">a paper</a> {FIGURE}</article></body></html>
""",
        "html/_static/a.css": "@import 'b.css'; body { background: url(data:image/png;base64,AA) }",
        "html/_static/b.css": "/* https://example.org/a.css */ b { src: url('f.woff2') }",
        "html/_static/a.js": "",
        "html/_images/a.png": "",
        "html/_sources/book/index.md": "",
        "html/_sources/book/diffusion/more.md": "",
        "html/_sources/book/diffusion/forward.ipynb": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def faults(book):
    return check_pages.faults(book / "html", book)


def test_sound_book(book):
    assert faults(book) == []


FORWARD = "html/book/diffusion/forward.html"


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        # a page is absent or empty
        ("html/index.html", None, None, "index.html: the book has no first page"),
        (FORWARD, None, None, "book/diffusion/forward.html: in _toc.yml but not built"),
        ("html/book/diffusion/more.html", None, None, "more.html: in _toc.yml but not built"),
        ("html/book/index.html", WORDS, "", "book/index.html: empty but for its title"),
        ("html/book/index.html", "h1>", "b>", "book/index.html: no article with a title"),
        # another host is asked
        (FORWARD, 'src="../../_static/a.js"', 'src="https://cdn.org/a.js"', "<script> asks for"),
        (FORWARD, "../../_static/a.css?v=1", "//cdn.org/a.css", "<link> asks for //cdn.org/a.css"),
        (FORWARD, "../../_images/a.png", "https://cdn.org/a.png", "<img> asks for"),
        (FORWARD, "<img ", '<img srcset="b.png 1x, https://cdn.org/b.png 2x" ', "<img> asks for"),
        (FORWARD, "</article>", '<iframe src="https://cdn.org"></iframe></article>', "<iframe> asks"),
        (FORWARD, "color: red", "src: url('https://cdn.org/f.woff')", "an inline style asks for"),
        (FORWARD, "<h1 ", '<h1 style="background:url(//cdn.org/a.png)" ', "an inline style asks"),
        ("html/_static/a.css", "'b.css'", "'https://cdn.org/b.css'", "_static/a.css: asks for"),
        ("html/_static/b.css", "f.woff2", "https://cdn.org/f.woff2", "_static/b.css: asks for"),
        # a picture says nothing to those who do not see it
        (FORWARD, ' alt="A disc"', "", "has no alt text"),
        (FORWARD, "A disc", "../../_images/a.png", "has no alt text"),
        (FORWARD, ' alt="A disc"', ' alt=" "', "is made by a cell and has empty alt text"),
        (FORWARD, "A disc.", "", "is made by a cell and has no caption"),
        (FORWARD, "figure", "div", "is made by a cell and has no caption"),
        # a link leads nowhere
        (FORWARD, "../index.html", "../indeks.html", "../indeks.html leads nowhere"),
        (FORWARD, "more.html#", "more.html#far", "more.html#far names a place that is not"),
        (FORWARD, 'id="top"', "", "#top names a place that is not on the page"),
        ("html/_images/a.png", None, None, "../../_images/a.png leads nowhere"),
        ("html/_static/a.css", None, None, "../../_static/a.css?v=1 leads nowhere"),
        ("html/index.html", "book/index", "book/start", "book/start.html leads nowhere"),
        # a way to the source names another file
        (FORWARD, "edit/main/book", "edit/main", "forward.html: no edit link"),
        (FORWARD, "lab/tree/book", "lab/tree", "forward.html: no Binder link"),
        (FORWARD, "blob/main", "blob/master", "forward.html: no Colab link"),
        (FORWARD, "_sources/book/diffusion/forward", "_sources/book/index", "no download link"),
    ],
)  # fmt: skip
def test_names_the_fault(book, file, old, new, told):
    path = book / file
    if old is None:
        path.unlink()
    else:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    found = faults(book)
    assert any(told in fault for fault in found), found


def test_exit_status_and_list(book):
    (book / "html" / "book" / "diffusion" / "forward.html").unlink()
    command = [sys.executable, check_pages.__file__, str(book / "html")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "index.html" in result.stdout
    assert "faults in" in result.stdout
