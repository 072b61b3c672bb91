"""Look over the built book: every page there, nothing asked of other hosts, no link that ends nowhere.

``python tools/check_pages.py`` reads ``_build/html`` and prints one line a fault; its exit status
is 1 if there is any. Sphinx reports what is wrong in the sources, this what is wrong in the pages.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).resolve().parents[1]
Pages = dict[Path, BeautifulSoup]

REQUESTS = (
    ("script", "src"), ("img", "src"), ("img", "srcset"), ("source", "src"), ("source", "srcset"),
    ("iframe", "src"), ("embed", "src"), ("object", "data"), ("video", "src"), ("video", "poster"),
    ("audio", "src"), ("track", "src"), ("image", "href"), ("use", "href"),
)  # fmt: skip
"""Tags and attributes that a browser fetches without being asked."""

LINKS_THAT_FETCH = {
    "stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch",
    "manifest", "apple-touch-icon",
}  # fmt: skip


def toc_files(toc: object) -> list[str]:
    """List the pages that a ``_toc.yml`` names, in order and without suffix."""
    if isinstance(toc, list):
        return [page for item in toc for page in toc_files(item)]
    if not isinstance(toc, dict):
        return []
    here = [str(toc[key]) for key in ("root", "file") if key in toc]
    return here + [page for value in toc.values() for page in toc_files(value)]


def read_pages(html: Path) -> Pages:
    """Parse every page below `html` once."""
    return {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(html.rglob("*.html"))
        if "_static" not in path.relative_to(html).parts
    }


def missing_pages(html: Path, pages: Pages, toc: list[str]) -> Iterator[str]:
    """Report pages of the table of contents that are absent or have next to nothing on them."""
    if html / "index.html" not in pages:
        yield "index.html: the book has no first page"
    for name in toc:
        page = pages.get(html / f"{name}.html")
        if page is None:
            yield f"{name}.html: in _toc.yml but not built"
            continue
        article = page.find("article")
        title = article.find("h1") if article else None
        if article is None or title is None:
            yield f"{name}.html: no article with a title"
        elif len(article.get_text(" ", strip=True)) - len(title.get_text(" ", strip=True)) < 80:
            yield f"{name}.html: empty but for its title"


def foreign_requests(html: Path, pages: Pages) -> Iterator[str]:
    """Report scripts, styles, fonts and pictures that another host would be asked for."""
    styles: set[Path] = set()
    for path, page in pages.items():
        where = path.relative_to(html).as_posix()
        wanted = [(tag, tag[name]) for kind, name in REQUESTS for tag in page(kind, {name: True})]
        wanted += [
            (tag, tag["href"])
            for tag in page("link", href=True)
            if LINKS_THAT_FETCH & set(tag.get("rel", []))
        ]
        for tag, value in wanted:
            for url in _addresses(tag, value):
                if urlsplit(url).netloc:
                    yield f"{where}: <{tag.name}> asks for {url}"
            if tag.name == "link" and "stylesheet" in tag["rel"] and not urlsplit(value).netloc:
                styles.add((path.parent / unquote(urlsplit(value).path)).resolve())
        inline = [tag.get_text() for tag in page("style")] + [
            tag["style"] for tag in page(style=True)
        ]
        for url in (url for css in inline for url in _css_addresses(css)):
            if urlsplit(url).netloc:
                yield f"{where}: an inline style asks for {url}"
    yield from _foreign_in_styles(html, styles)


def _addresses(tag: Tag, value: str) -> list[str]:
    """Split an attribute into addresses; a data address may hold commas, but no srcset of ours."""
    if value.startswith("data:") or value != tag.get("srcset"):
        return [value.strip()]
    return [part.split()[0] for part in value.split(",") if part.strip()]


def _css_addresses(css: str) -> list[str]:
    """List what url() and @import name in a style."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    named = re.findall(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""", css)
    return [(first or second).strip() for first, second in named]


def _foreign_in_styles(html: Path, styles: set[Path]) -> Iterator[str]:
    """Follow the style files of the pages, and those that they import."""
    waiting, seen = sorted(styles), set()
    while waiting:
        style = waiting.pop()
        if style in seen or not style.is_file():  # an absent file is a broken link, told elsewhere
            continue
        seen.add(style)
        for url in _css_addresses(style.read_text(encoding="utf-8")):
            if urlsplit(url).netloc:
                yield f"{style.relative_to(html.resolve()).as_posix()}: asks for {url}"
            elif urlsplit(url).path.endswith(".css"):
                waiting.append((style.parent / unquote(urlsplit(url).path)).resolve())


def untold_pictures(html: Path, pages: Pages) -> Iterator[str]:
    """Report pictures without alt text, and pictures made by a cell that have no caption."""
    for path, page in pages.items():
        where = path.relative_to(html).as_posix()
        for image in page.select("article img"):
            name = image.get("src", "")[:60]
            alt = image.get("alt")
            # Sphinx puts the file's name where an author gave no alt text.
            if alt is None or (alt and Path(alt).name == Path(image.get("src", "")).name):
                yield f"{where}: {name} has no alt text"
            if image.find_parent(class_="cell_output") is None:
                continue
            if alt is not None and not alt.strip():
                yield f"{where}: {name} is made by a cell and has empty alt text"
            figure = image.find_parent("figure")
            caption = figure.find("figcaption") if figure else None
            if caption is None or not caption.get_text(strip=True):
                yield f"{where}: {name} is made by a cell and has no caption"


def broken_links(html: Path, pages: Pages) -> Iterator[str]:
    """Report links within the book to a file or a place in a page that does not exist."""
    places = {
        path.resolve(): {tag["id"] for tag in page(id=True)}
        | {tag["name"] for tag in page("a", attrs={"name": True})}
        for path, page in pages.items()
    }
    for path, page in pages.items():
        where = path.relative_to(html).as_posix()
        links = [tag[name] for name in ("href", "src") for tag in page(attrs={name: True})]
        links += [
            tag["content"].partition("url=")[2]
            for tag in page("meta", attrs={"http-equiv": re.compile("refresh", re.IGNORECASE)})
        ]
        for link in sorted(set(links)):
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path.resolve()
            if not target.is_file():
                yield f"{where}: {link} leads nowhere"
            elif url.fragment and unquote(url.fragment) not in places.get(target, {url.fragment}):
                yield f"{where}: {link} names a place that is not on the page"


def wrong_source_links(html: Path, pages: Pages, toc: list[str], root: Path) -> Iterator[str]:
    """Report pages whose way to the source, to a launch or to a download does not fit the file.

    A notebook's page can be edited, opened on Binder and on Colab, and downloaded; a text page can
    be edited and downloaded. Each of these must name the very file that the page was made from.
    """
    repository = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["repository"]
    branch = repository["branch"]
    owner = urlsplit(repository["url"]).path.strip("/")
    for name in toc:
        source = next(
            (f"{name}{end}" for end in (".ipynb", ".md") if (root / f"{name}{end}").is_file()), None
        )
        page = pages.get(html / f"{name}.html")
        if source is None or page is None:
            continue  # told by missing_pages
        links = {tag["href"] for tag in page("a", href=True)}
        wanted = {"edit": f"{repository['url']}/edit/{branch}/{source}"}
        if source.endswith(".ipynb"):
            wanted["Binder"] = (
                f"https://mybinder.org/v2/gh/{owner}/{branch}?urlpath=lab/tree/{source}"
            )
            wanted["Colab"] = (
                f"https://colab.research.google.com/github/{owner}/blob/{branch}/{source}"
            )
        yield from (
            f"{name}.html: no {kind} link {url}" for kind, url in wanted.items() if url not in links
        )
        if not any(urlsplit(link).path.endswith(f"_sources/{source}") for link in links):
            yield f"{name}.html: no download link to _sources/{source}"


def faults(html: Path, root: Path = ROOT) -> list[str]:
    """List all that is wrong with the built book.

    Parameters
    ----------
    html : Path
        The folder with the built pages.
    root : Path
        The folder with ``_toc.yml`` and ``_config.yml``, from which it was built.

    Returns
    -------
    list of str
        One sentence a fault, each beginning with the page; empty if all is well.
    """
    toc = toc_files(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8")))
    pages = read_pages(html)
    return [
        *missing_pages(html, pages, toc),
        *foreign_requests(html, pages),
        *untold_pictures(html, pages),
        *broken_links(html, pages),
        *wrong_source_links(html, pages, toc, root),
    ]


def main() -> int:
    """Check the folder that is named, or ``_build/html``."""
    html = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "_build" / "html"
    found = faults(html.resolve())
    for fault in found:
        print(fault)
    print(f"{len(found)} faults in {html}" if found else f"The pages in {html} are sound.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
