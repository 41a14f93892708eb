"""The page at / and the texts that it is given: any way in, exactly as they are, however long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import expect
from tests.served import serve
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Route

    from tests.browser import Visit
    from tests.served import Served

pytestmark = pytest.mark.slow

ODD = "  <script>alert(1)</script> &lt;\t🗼東京\r\nline\r\n\r\n\n\u202eabc\u202c e\u0301 \ufeff \x0b end\n\n"
PARAGRAPHS = ("The boat is blue and the sail is white. " * 12 + "\n\n") * 2100
ONE_LINE = "The boat is blue 🚤 and the sail is white. " * 24000
NO_BLANKS = "𠮷野家の船は青い。" * 100_000


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


def sent(here: Visit) -> str:
    """The context that the page sends when it asks."""
    with here.page.expect_request("**/v1/answer") as asked:
        here.ask("What is blue?")
    body = asked.value.post_data_json
    assert body is not None
    assert body["offset_unit"] == "utf16"
    context: str = body["context"]
    return context


@pytest.mark.parametrize("text", [ODD, "x", "\n\n a", "a\u2028b\u2029c", "👩‍👩‍👧‍👦" * 3])
def test_a_file_is_shown_and_sent_as_it_is(here: Visit, text: str) -> None:
    here.read(text)
    assert here.shown() == text
    assert sent(here) == text
    assert here.shown() == text
    assert here.page.locator("#view script").count() == 0


def test_marks_of_byte_order_are_no_text(here: Visit) -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        text = f"Ein grünes Boot in {encoding}."
        content: Any = {"name": "a.txt", "mimeType": "text/plain", "buffer": text.encode(encoding)}
        here.page.set_input_files("#file", content)
        expect(here.page.locator("#view")).to_have_text(text)
        assert here.shown() == text


def test_a_file_is_dropped_anywhere(here: Visit) -> None:
    drop = """([kind, text]) => {
        const data = new DataTransfer();
        if (text === null) data.setData("text/plain", "dragged words");
        else data.items.add(new File([text], "a.txt"));
        const event = new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
        document.querySelector("h1").dispatchEvent(event);
        return event.defaultPrevented;
    }"""
    assert here.page.evaluate(drop, ["dragover", ODD])  # else the browser would open the file in place of the page
    expect(here.page.locator("body")).to_have_class("dropping")
    assert here.page.evaluate(drop, ["drop", ODD])
    expect(here.page.locator("body")).not_to_have_class("dropping")
    here.page.wait_for_selector("#view:not([hidden])")
    assert here.shown() == ODD
    here.page.evaluate(drop, ["drop", None])
    assert here.shown() == "dragged words"


def test_text_is_pasted_while_reading(here: Visit) -> None:
    here.read("old text")
    paste = """(text) => {
        const data = new DataTransfer();
        data.setData("text/plain", text);
        const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
        document.getElementById("view").dispatchEvent(event);
    }"""
    here.page.evaluate(paste, ODD)
    assert here.shown() == ODD


def test_what_is_copied_is_the_text(here: Visit) -> None:
    text = ODD + ONE_LINE[:30_000]
    here.read(text)
    assert here.page.locator(".chunk").count() > 1  # blocks, which a browser parts by line breaks
    here.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    here.page.evaluate("getSelection().selectAllChildren(document.getElementById('view'))")
    here.page.keyboard.press("Control+C")
    assert here.page.evaluate("navigator.clipboard.readText()") == text


def answering(places: list[tuple[int, int]], text: str) -> Any:
    """A handler that answers at once with these places, in UTF-16 units: no model reads that much here."""
    wide = text.encode("utf-16-le")
    answers = [
        {"text": wide[2 * start : 2 * end].decode("utf-16-le"), "start": start, "end": end, "score": 1.0}
        | {"probability": 0.2}
        for start, end in places
    ]
    found: Any = {"answer": answers[0], "answers": answers, "null_score": 0.0, "null_probability": 0.1}
    found |= {"warnings": [], "milliseconds": 1.0}

    def handle(route: Route) -> None:
        route.fulfill(json=found)

    return handle


@pytest.mark.parametrize("text", [PARAGRAPHS, ONE_LINE, NO_BLANKS], ids=["paragraphs", "one line", "no blanks"])
def test_a_million_characters(here: Visit, text: str) -> None:
    length = len(text.encode("utf-16-le")) // 2
    assert length >= 1_000_000
    unit = 43 if text is ONE_LINE else 10  # of what is repeated, in UTF-16: no place begins inside a character
    places = [(at // unit * unit, at // unit * unit + 16) for at in (length - 400, 100, length // 2, length // 3)]
    here.page.route("**/v1/answer", answering(places, text))
    tokens: Any = [
        {"start": at, "end": at + 10, "start_logit": -1.0, "end_logit": -2.0} for at in range(0, length - 10, 10)
    ]
    here.page.route("**/v1/scores", lambda route: route.fulfill(json={"tokens": tokens, "windows": 999}))
    here.read(text)
    assert here.shown() == text
    sizes = here.page.evaluate("[...document.querySelectorAll('.chunk')].map((node) => node.textContent.length)")
    assert max(sizes) <= 12_000  # what one move of the mark paints anew
    here.ask("What is blue?")
    here.question.press("ArrowDown")
    for index, (start, end) in enumerate(places):
        expect(here.candidates.nth(index)).to_be_focused()
        marked = here.marked()
        assert marked is not None
        assert marked == (start, text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le"))
        eventually(here.in_sight, "the mark is scrolled to")
        here.page.keyboard.press("ArrowDown")
    here.candidates.nth(1).click()  # the one near the top
    here.page.get_by_role("switch", name="Expert view").check()
    expect(here.page.locator("#legend")).to_be_visible()
    top = here.page.locator(".chunk").first.locator(".tint")
    eventually(lambda: top.count() > 0, "tints where the mark is")
    assert here.page.locator(".tint").count() < len(tokens) // 10
    here.candidates.first.click()  # the one near the end
    eventually(lambda: top.count() == 0, "no tints where nobody looks")
    assert here.shown() == text
