"""axe-core, which checks a page in a browser against the rules of WCAG and its own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.npm import npm

if TYPE_CHECKING:
    from playwright.sync_api import Page

_PACKAGE = "axe-core@4.14.1"
_FIND = """async () => {
    const { violations } = await axe.run({ resultTypes: ["violations"] });
    return violations.flatMap(({ id, impact, nodes }) => nodes.map((node) => `${impact} ${id}: ${node.html}`));
}"""


@cache
def _source() -> str:
    with TemporaryDirectory() as folder:
        npm("install", "--no-save", "--ignore-scripts", _PACKAGE, folder=Path(folder))
        return Path(folder, "node_modules", "axe-core", "axe.min.js").read_text(encoding="utf-8")


def faults(page: Page) -> list[str]:
    """Return what axe-core finds in an open page: impact, rule and element, in light and in dark."""
    page.evaluate(f"{_source()};0")
    found: list[str] = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found += [f"{scheme}: {fault}" for fault in page.evaluate(_FIND)]
    return found
