"""The page at / when something is wrong: what it says, and what can be done then."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx.serve.settings import MAX_SCORE_CHARACTERS
from tests.browser import expect, visit
from tests.served import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Route

    from tests.browser import Visit
    from tests.served import Served

pytestmark = pytest.mark.slow

TEXT = "The boat is blue and the sail is white."
QUESTION = "What colour is the boat?"
KEY = "correct-horse-battery-staple"

_RECORD_STATUS = """() => {
    const status = document.getElementById("result");
    globalThis.statuses = [];
    new MutationObserver(() => statuses.push(status.textContent))
        .observe(status, { childList: true, characterData: true, subtree: true });
}"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve("--max-request-bytes", 300_000) as running:
        yield running


@pytest.fixture
def here(browser: Browser, served: Served) -> Iterator[Visit]:
    with visit(browser, served, refusals=True) as seen:
        yield seen


def refusing(*statuses: int, **headers: str) -> tuple[Callable[[Route], None], list[int]]:
    """A handler that refuses the first requests, one status each, and lets the others go on; and what it did."""
    done: list[int] = []

    def handle(route: Route) -> None:
        if len(done) == len(statuses):
            route.continue_()
            return
        done.append(statuses[len(done)])
        problem: Any = {"status": done[-1], "title": "x", "detail": "the reason", "request_id": "r-17"}
        route.fulfill(
            status=done[-1], json=problem, headers={"Content-Type": "application/problem+json", **headers}
        )

    return handle, done


def test_a_server_that_has_gone(browser: Browser) -> None:
    with serve() as served, visit(browser, served, refusals=True) as here:
        here.read(TEXT)
        here.ask(QUESTION)
        served.stop()
        here.start(QUESTION)
        expect(here.error).to_contain_text("The server does not answer")
        expect(here.page.locator("#said")).to_have_count(0)  # of the question before
        expect(here.error.get_by_role("button", name="Try again")).to_be_visible()
        assert here.shown() == TEXT


def test_a_text_that_is_too_large(here: Visit) -> None:
    here.read(TEXT + " " * 300_000)
    here.start(QUESTION)
    expect(here.error).to_contain_text("This is too large for the server")
    expect(here.error).to_contain_text("300000 bytes")
    here.read(TEXT)
    expect(here.error).to_be_hidden()
    here.ask(QUESTION)


def test_a_text_whose_scores_are_too_many(here: Visit) -> None:
    here.page.get_by_role("switch", name="Expert view").check()
    here.read(TEXT + " " * MAX_SCORE_CHARACTERS)
    here.ask(QUESTION)
    expect(here.error).to_contain_text("The server cannot score the tokens of this text")
    expect(here.error).to_contain_text(str(MAX_SCORE_CHARACTERS))
    expect(here.page.locator("#said")).to_be_visible()  # the answer stands
    expect(here.page.locator("#scale")).to_be_hidden()


def test_a_server_that_runs_out_of_time(browser: Browser) -> None:
    with serve("--timeout-s", 0.5, gated=True) as served, visit(browser, served, refusals=True) as here:
        served.gate.hold()
        here.read(TEXT)
        here.start(QUESTION)
        expect(here.error).to_contain_text("The server ran out of time")
        expect(here.error).to_contain_text("--timeout-s")


def test_a_server_that_wants_a_key(browser: Browser, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n", encoding="ascii")
    with serve("--api-key-file", keys) as served, visit(browser, served, refusals=True) as here:
        field = here.page.get_by_label("API key of this server")
        here.read(TEXT)
        here.start(QUESTION)
        expect(here.error).to_contain_text("This server wants an API key")
        expect(field).to_be_focused()
        field.fill("one that the server does not know")
        field.press("Enter")
        expect(here.error).to_contain_text("An API key has only")
        field.fill("not-a-key-that-it-knows")
        field.press("Enter")
        expect(here.error).to_contain_text("This server does not accept this API key")
        field.fill(KEY)
        field.press("Enter")
        here.page.wait_for_selector("#said")
        expect(field).to_be_hidden()
        expect(here.error).to_be_hidden()
        expect(here.page.locator("#model")).to_contain_text("tiny-bert")
        here.ask(QUESTION)  # the key is still known
        here.page.reload()
        here.read(TEXT)
        here.start(QUESTION)  # and after a reload no longer
        expect(here.error).to_contain_text("This server wants an API key")
        expect(field).to_have_value("")


def test_a_busy_server_is_asked_again_when_it_says(here: Visit) -> None:
    handle, done = refusing(429, 429, **{"Retry-After": "1"})
    here.page.route("**/v1/answer", handle)
    here.read(TEXT)
    here.page.evaluate(_RECORD_STATUS)  # each stands for a second only: looking from here could miss it
    here.start(QUESTION)
    here.page.wait_for_selector("#said")
    assert done == [429, 429]
    waits = [text for text in here.page.evaluate("statuses") if "busy" in text]
    assert waits == [f"The server is busy. Asking again in 1 s, try {number} of 5." for number in (2, 3)]


def test_a_server_that_stays_busy(here: Visit) -> None:
    handle, done = refusing(*[429] * 5, **{"Retry-After": "1"})
    here.page.route("**/v1/answer", handle)
    here.read(TEXT)
    here.start(QUESTION)
    expect(here.error).to_contain_text("The server is busy")
    assert len(done) == 5
    here.error.get_by_role("button", name="Try again").click()
    here.page.wait_for_selector("#said")
    expect(here.question).to_be_focused()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, "The server is starting or stopping"),
        (408, "The text took too long to arrive"),
        (422, "The server cannot answer this question"),
        (500, "The server failed"),
    ],
)
def test_other_refusals_in_plain_words(here: Visit, status: int, said: str) -> None:
    handle, _ = refusing(status)
    here.page.route("**/v1/answer", handle)
    here.read(TEXT)
    here.start(QUESTION)
    expect(here.error).to_contain_text(said)
    expect(here.error).to_contain_text("the reason")
    assert ("r-17" in here.error.inner_text()) == (status >= 500)
    again = here.error.get_by_role("button", name="Try again")
    assert again.count() == (status != 422)
    here.ask(QUESTION)
    expect(here.error).to_be_hidden()


def test_an_answer_that_is_not_json(here: Visit) -> None:
    here.page.route("**/v1/answer", lambda route: route.fulfill(body="<html>proxy</html>"))
    here.read(TEXT)
    here.start(QUESTION)
    expect(here.error).to_contain_text("what it sent is not JSON")


def test_an_answer_that_is_not_in_the_text_is_not_shown(here: Visit) -> None:
    wrong = {"text": "red", "start": 12, "end": 16, "score": 1, "probability": 1}
    found = {"answer": wrong, "answers": [wrong], "null_score": 0, "null_probability": 0, "warnings": []}
    here.page.route("**/v1/answer", lambda route: route.fulfill(json={**found, "milliseconds": 1}))
    here.read(TEXT)
    here.start(QUESTION)
    expect(here.error).to_contain_text("its answer is not at 12 to 16 of the text")
    assert here.marked() is None


def test_no_text_and_no_question(here: Visit) -> None:
    here.start(QUESTION)
    expect(here.error).to_contain_text("There is no text yet")
    expect(here.page.get_by_role("textbox", name="Text", exact=True)).to_be_focused()
    here.read(TEXT)
    here.start("  ")
    expect(here.error).to_contain_text("There is no question yet")
    assert not [address for address in here.requests if address.endswith("/v1/answer")]


@pytest.mark.parametrize("how", ["Escape", "Stop"])
def test_a_question_under_way_is_stopped(here: Visit, how: str) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)  # never answered

    here.page.route("**/v1/answer", hold)
    here.read(TEXT)
    here.start(QUESTION)
    expect(here.page.locator("#result")).to_have_text("Reading…")
    with here.page.expect_event("requestfailed") as failed:
        if how == "Escape":
            here.page.keyboard.press("Escape")
        else:
            here.page.get_by_role("button", name="Stop").click()
    assert failed.value.failure == "net::ERR_ABORTED"
    expect(here.page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(here.page.locator("#result")).to_have_text("")
    expect(here.error).to_be_hidden()
    here.page.unroute("**/v1/answer")
    here.ask(QUESTION)
    assert len(held) == 1


def test_the_last_question_wins(here: Visit) -> None:
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    here.page.route("**/v1/answer", hold_first)
    here.read(TEXT)
    here.start(QUESTION)
    here.ask("What colour is the sail?")
    expect(here.error).to_be_hidden()
    assert re.match(r"Answer\n", here.page.locator("#result").inner_text())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "This is a PNG image, not UTF-8 text"),
        (b"\xe9t\xe9", "UTF-8"),
        (b"a\x00b" * 9, "it is no text"),
    ],
)
def test_a_file_that_is_no_text(here: Visit, content: bytes, why: str) -> None:
    here.add(("photo.png", content))
    entry = here.page.get_by_role("listitem").filter(has_text="photo.png")
    expect(entry).to_contain_text(why)
    expect(here.page.locator("#skipped")).to_have_text("1 of 1 document cannot be read.")
    entry.get_by_role("button", name="photo.png").first.click()
    expect(here.error).to_contain_text("The server cannot read photo.png")
    here.start(QUESTION)
    expect(here.error).to_contain_text("There is no text in these documents")
    entry.get_by_role("button", name="Remove photo.png").click()
    expect(here.page.get_by_role("textbox", name="Text", exact=True)).to_have_value("")
    expect(here.page.locator("#skipped")).to_be_hidden()
