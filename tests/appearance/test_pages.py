"""A report in a browser: as wide as the window, light and dark, and light on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("matplotlib")

from qa_onnx.bench.report import files
from tests.axe import faults
from tests.bench.test_results import RUN
from tests.browser import chromium

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

GROUND = "getComputedStyle(document.body).backgroundColor"
LABEL = "getComputedStyle(document.querySelector('figure svg text')).fill"
SURPLUS = "document.documentElement.scrollWidth - innerWidth"
LIGHT, DARK = "rgb(243, 241, 236)", "rgb(20, 22, 26)"


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_in_a_report(tmp_path: Path, width: int) -> None:
    report = tmp_path / "report.html"
    report.write_text(files([RUN])["report.html"], encoding="utf-8")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.goto(report.as_uri())
        assert faults(page) == []


def test_a_report_fits_its_window_and_follows_the_colour_scheme(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text(files([RUN])["report.html"], encoding="utf-8")
    with chromium() as browser:
        page = browser.new_page()
        page.goto(report.as_uri())
        seen = {}
        for scheme in ("light", "dark"):
            page.emulate_media(media="screen", color_scheme=scheme)
            for width in (360, 390, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate(SURPLUS) <= 0
            seen[scheme] = (page.evaluate(GROUND), page.evaluate(LABEL))
        assert seen == {"light": (LIGHT, "rgb(28, 29, 33)"), "dark": (DARK, "rgb(233, 231, 226)")}
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(LABEL) == "rgb(28, 29, 33)"
        assert page.evaluate(GROUND) == "rgba(0, 0, 0, 0)"
        assert page.locator("figure > figcaption").count() == page.locator("figure > svg").count() == 7
