"""A headless Chromium that visits the server's page and remembers all that the page did."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright", reason="needs playwright")
if not (shutil.which("chromium") or shutil.which("chromium-browser")):
    if os.environ.get("CI"):
        pytest.fail("CI is set, so that the tests of the page must run: put chromium on the PATH", pytrace=False)
    pytest.skip("needs chromium on the PATH", allow_module_level=True)

from playwright.sync_api import expect, sync_playwright

from tests.served import ROOT
from tests.waiting import PATIENCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

    from tests.served import Served

__all__ = ["DEFAULT_BUNDLE", "N_BEST", "Visit", "chromium", "expect", "visit"]

expect.set_options(timeout=PATIENCE_S * 1000)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DEFAULT_BUNDLE = ROOT / "exported" / "minilm-squad"
N_BEST = 6  # answers that the page asks for

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_WATCH = """addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy ${event.violatedDirective} stopped ${event.blockedURI}`));"""


@dataclass
class Visit:
    """A page that is open.

    Attributes:
        page: in the browser.
        origin: of the server that it came from.
        requests: addresses that it asked for.
        complaints: errors and warnings on its console, errors of its script, breaches of its policy.
    """

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def read(self, text: str) -> None:
        """Open a text as a file, exactly as it is, in place of all that is there."""
        clear = self.page.get_by_role("button", name="Clear", exact=True)
        if clear.is_visible():
            clear.click()
        self.add(("text.txt", text.encode()))
        self.page.wait_for_selector("#view:not([hidden])")

    def add(self, *files: tuple[str, bytes]) -> None:
        """Add files, by name and content, and wait until they are read."""
        added: Any = [{"name": name, "mimeType": "", "buffer": content} for name, content in files]
        self.page.set_input_files("#file", added)
        expect(self.page.locator("#documents .reading")).to_have_count(0)

    def ask(self, question: str) -> None:
        """Ask and wait for the answer."""
        self.start(question)
        self.page.wait_for_selector("#said")

    def start(self, question: str) -> None:
        """Ask."""
        self.question.fill(question)
        self.question.press("Enter")

    @property
    def question(self) -> Locator:
        return self.page.get_by_role("textbox", name="Question", exact=True)

    @property
    def candidates(self) -> Locator:
        return self.page.get_by_role("listbox", name="Answers").get_by_role("option")

    @property
    def error(self) -> Locator:
        return self.page.get_by_role("alert")

    def wait_for_complaint(self, text: str) -> None:
        """Wait until it has complained of something."""

        def complained() -> bool:
            self.page.wait_for_timeout(20)  # playwright hears of the page in its own calls alone
            return any(text in complaint for complaint in self.complaints)

        eventually(complained, f"the page complains: {text}")

    def marked(self) -> tuple[int, str] | None:
        """Position in the shown text, in UTF-16 units, and text of what is marked; None where nothing is."""
        found: list[Any] | None = self.page.evaluate(
            """() => {
                const view = document.getElementById("view"), marks = [...view.querySelectorAll("mark")];
                if (marks.length === 0) return null;
                const before = document.createRange();
                before.setStart(view, 0);
                before.setEndBefore(marks[0]);
                return [before.toString().length, marks.map((mark) => mark.textContent).join("")];
            }"""
        )
        return None if found is None else (found[0], found[1])

    def shown(self) -> str:
        """The text as the page holds it to read."""
        text: str = self.page.evaluate("document.getElementById('view').textContent")
        return text

    def in_sight(self, selector: str = "#view mark") -> bool:
        """Whether an element lies within the frame of the text."""
        inside: bool = self.page.evaluate(
            """(selector) => {
                const frame = document.getElementById("view").getBoundingClientRect();
                const place = document.querySelector(selector).getBoundingClientRect();
                return place.top >= frame.top && place.bottom <= frame.bottom;
            }""",
            selector,
        )
        return inside


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, with a profile that is new and empty."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Browser, served: Served, *, refusals: bool = False, **looks: Any) -> Iterator[Visit]:
    """Open the page; at the end, check that it asked nobody but its server and that nothing went wrong in it.

    Args:
        browser: from `chromium`.
        served: the server.
        refusals: the console may say that a request failed, as it does of each that an error answers.
        looks: of the browser context: size, colour scheme, ...
    """
    origin = f"http://127.0.0.1:{served.port}"
    context = browser.new_context(**{"reduced_motion": "reduce", **looks})
    context.set_default_timeout(PATIENCE_S * 1000)
    context.add_init_script(_WATCH)
    try:
        seen = Visit(context.new_page(), origin)
        context.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("console", lambda message: _listen(seen, message.type, message.text, refusals=refusals))
        seen.page.goto(f"{origin}/")
        yield seen
        seen.page.wait_for_timeout(50)
        assert seen.complaints == []
        assert [address for address in seen.requests if not address.startswith((f"{origin}/", "data:"))] == []
        assert seen.page.url == f"{origin}/"  # neither text nor question enters the address
        assert seen.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    finally:
        context.close()


def _listen(seen: Visit, kind: str, text: str, *, refusals: bool) -> None:
    if kind in {"error", "warning"} and not (refusals and text.startswith("Failed to load resource")):
        seen.complaints.append(text)
