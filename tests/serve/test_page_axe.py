"""axe-core finds nothing in the server's pages, in any state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.axe import faults
from tests.browser import expect, visit
from tests.serve.test_page_looks import QUESTION, STATES, bring
from tests.served import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ViewportSize

    from tests.served import Served

pytestmark = pytest.mark.slow

WINDOWS: tuple[ViewportSize, ...] = ({"width": 360, "height": 740}, {"width": 1280, "height": 800})


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.mark.parametrize("viewport", WINDOWS, ids=("phone", "desk"))
@pytest.mark.parametrize("state", [*STATES, "documents"])
def test_axe_finds_nothing_in_the_page(
    browser: Browser, served: Served, state: str, viewport: ViewportSize
) -> None:
    with visit(browser, served, refusals=True, viewport=viewport) as here:
        if state == "documents":
            here.add(("boats.txt", b"The boat is blue."), ("sails.md", b"# Sails"), ("broken.pdf", b"no PDF"))
            here.ask(QUESTION)
        else:
            bring(here, state)
        assert faults(here.page) == []


@pytest.mark.parametrize("viewport", WINDOWS, ids=("phone", "desk"))
def test_axe_finds_nothing_in_the_list_of_endpoints(
    browser: Browser, served: Served, viewport: ViewportSize
) -> None:
    page = browser.new_page(viewport=viewport)
    page.goto(f"http://127.0.0.1:{served.port}/docs")
    assert faults(page) == []
    page.get_by_role("link", name="POST /v2/models/{name}/infer", exact=True).click()
    expect(page.get_by_role("heading", name="POST /v2/models/{name}/infer", exact=True)).to_be_in_viewport()
    page.close()
