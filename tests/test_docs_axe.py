"""axe-core finds no serious fault in the pages of the site, with the colours of their code and what scrolls."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("furo", reason="needs the group docs")

from tests.axe import faults
from tests.browser import chromium
from tests.served import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

PAGES = ("index", "command-line", "coming-from-argmax", "evaluating", "serving", "reference/reading")


def test_axe_finds_nothing_serious_in_the_docs(tmp_path: Path) -> None:
    build = (
        sys.executable,
        "-m",
        "sphinx",
        "--quiet",
        "-d",
        str(tmp_path / "doctrees"),
        "docs",
        str(tmp_path / "html"),
    )
    subprocess.run(build, cwd=ROOT, check=True)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        for name in PAGES:
            page.goto((tmp_path / "html" / f"{name}.html").as_uri())
            assert [fault for fault in faults(page) if " serious " in fault or " critical " in fault] == [], name
