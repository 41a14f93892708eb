"""Look at the built pages: every link leads to a page and a place in it, and nothing is loaded from elsewhere.

`python docs/site/check_site.py build/docs/html` prints what is wrong, and exits with 1 if anything is.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class _Page(HTMLParser):
    """The links, the loaded files and the places of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.places.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if (
            tag in _LOADED
            and _LOADED[tag] in values
            and values.get("rel") not in {"index", "search", "next", "prev"}
        ):
            self.loaded.append(values[_LOADED[tag]])


def problems(folder: Path) -> list[str]:
    """Return what is wrong with the pages below a folder, a line each."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    places = {path: page.places for path, page in pages.items()}
    found = []
    for path, page in pages.items():
        wrong = [f"loads {target}" for target in page.loaded if _is_elsewhere(target)]
        wrong += [
            f"links to {link}, {problem}" for link in page.links if (problem := _problem(link, path, places))
        ]
        found += [f"{path.relative_to(folder)} {words}" for words in wrong]
    for path in sorted(folder.rglob("*.css")):
        urls = re.findall(r"url\(['\"]?([^)'\"]+)|@import ['\"]([^'\"]+)", path.read_text(encoding="utf-8"))
        targets = [first or second for first, second in urls]
        found += [f"{path.relative_to(folder)} loads {target}" for target in targets if _is_elsewhere(target)]
    return found


def _is_elsewhere(target: str) -> bool:
    return urlsplit(target).scheme not in {"", "data"} or target.startswith("//")


def _problem(link: str, path: Path, places: dict[Path, set[str]]) -> str:
    """Return what is wrong with a link of a page; empty: nothing, or it leads out of the site."""
    parts = urlsplit(link)
    if parts.scheme or link == "#":
        return ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return "which does not exist"
    if parts.fragment and target in places and unquote(parts.fragment) not in places[target]:
        return "where there is no such place"
    return ""


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]).resolve())
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(bool(wrong))
