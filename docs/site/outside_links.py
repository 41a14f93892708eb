"""Links to what lies outside of docs/: pages that the site includes, files to download, and folders as plain text.

The pages stay readable in a checkout, where such links lead to the files themselves.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
INCLUDED = {
    "SECURITY.md": "background/security.md",
    "CHANGELOG.md": "background/changelog.md",
    "benchmarks/README.md": "background/benchmarks.md",
    "benchmarks/results/vnni-bf16/report.md": "background/benchmark-report.md",
    "benchmarks/results/no-vnni/report.md": "background/benchmark-report-no-vnni.md",
    "README.md": "index.md",
}
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^():#]+)(#[^()]*)?\)")


def mended(text: str, page: Path, place: Path) -> str:
    """Return a page with links that work in the site.

    Args:
        text: Markdown.
        page: the file that holds it, which its links start from.
        place: the page of the site that shows it, in docs/.
    """

    def link(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        path = (page.parent / target).resolve()
        name = path.relative_to(ROOT).as_posix()
        if name in INCLUDED:
            path = DOCS / INCLUDED[name]
        elif path.is_dir():
            return words if words.startswith("`") else f"`{words}`"
        return f"[{words}]({os.path.relpath(path, place.parent)}{anchor})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)


def _read(_: Sphinx, name: str, source: list[str]) -> None:
    place = DOCS / f"{name}.md"
    included = next(
        (ROOT / one for one, page in INCLUDED.items() if page == f"{name}.md" and name != "index"), None
    )
    if included is None:
        source[0] = mended(source[0], place, place)
    else:
        source[0] += mended(included.read_text(encoding="utf-8"), included, place)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
