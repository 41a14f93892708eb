"""The page at /, used by a person in a real browser: texts, answers in their places, candidates, scores."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx.serve import pages
from tests.browser import DEFAULT_BUNDLE, N_BEST, expect, visit
from tests.served import serve
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.browser import Visit
    from tests.served import Served

pytestmark = pytest.mark.slow

PAGE = bytes(pages.demo().body).decode()
# Units of UTF-16 and characters part at the first emoji; what looks like markup must stay text.
TEXT = (
    "🗼 The tower (東京塔) 👩‍🌾 opened in 1958.\r\n\r\n"
    "\tIt   has <b>333</b> metres &amp; a <mark>red</mark> door 🚪.\n"
    "Its paint, 28,000 litres of it 🎨, is renewed every five years by Émile Ōta (太田).\n"
)
QUESTIONS = ("Who renews the paint?", "When did the tower open?", "How many litres of paint does it take?")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve("--precision", "int8", bundle=DEFAULT_BUNDLE) as running:
        yield running


def from_api(served: Served, question: str, text: str, **fields: Any) -> dict[str, Any]:
    """The API's own result, with offsets in characters."""
    response = served.answer({"question": question, "context": text, "n_best": N_BEST, **fields})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def place(text: str, answer: dict[str, Any]) -> tuple[int, str]:
    """Where an answer begins in UTF-16 units, and its text, reckoned from its offsets in characters."""
    return units(text[: answer["start"]]), text[answer["start"] : answer["end"]]


def test_it_is_one_file_that_a_strict_policy_lets_run() -> None:
    assert len(re.findall("<script", PAGE)) == len(re.findall("<style", PAGE)) == 1
    assert "<script>" in PAGE
    assert "<style>" in PAGE
    markup = re.sub("<(script|style)>.*?</\\1>", "", PAGE, flags=re.DOTALL)
    assert not re.findall(r"\s(?:on\w+|style|src)\s*=", markup)
    assert not re.findall(r"https?:|@import|url\(|innerHTML|outerHTML|insertAdjacentHTML|eval\(|Storage", PAGE)


def test_the_policy_is_in_force_and_breaches_are_seen(browser: Browser, served: Served) -> None:
    with visit(browser, served) as seen:
        seen.page.evaluate("fetch('http://127.0.0.2:9/').catch(() => null)")
        seen.page.evaluate("document.body.setAttribute('style', 'color: red')")
        seen.wait_for_complaint("policy connect-src stopped http://127.0.0.2:9/")
        seen.wait_for_complaint("policy style-src-attr stopped inline")
        seen.complaints.clear()
        seen.requests = [address for address in seen.requests if "127.0.0.2" not in address]


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_marked_where_the_api_says(here: Visit, served: Served, question: str) -> None:
    answer = from_api(served, question, TEXT)["answer"]
    here.read(TEXT)
    here.ask(question)
    assert here.shown() == TEXT
    assert here.marked() == place(TEXT, answer)
    assert units(TEXT[: answer["start"]]) > answer["start"]  # else this text proves nothing
    expect(here.page.locator("#said")).to_have_text(answer["text"])
    expect(here.page.locator("#result")).to_contain_text(f"probability {100 * answer['probability']:.1f} %")


def test_the_answer_is_scrolled_to(here: Visit, served: Served) -> None:
    text = "The sea is calm today. Nobody is on the pier.\n" * 60 + TEXT
    here.read(text)
    assert here.page.evaluate("document.getElementById('view').scrollTop") == 0
    here.ask(QUESTIONS[0])
    assert here.marked() == place(text, from_api(served, QUESTIONS[0], text)["answer"])
    eventually(here.in_sight, "the mark is scrolled to")


def test_keys_walk_through_the_candidates_and_mark_each(here: Visit, served: Served) -> None:
    found = from_api(served, QUESTIONS[2], TEXT, evidence=True)
    here.read(TEXT)
    here.ask(QUESTIONS[2])
    assert here.candidates.count() == N_BEST + 1
    here.question.press("ArrowDown")  # from the question into the list
    for index, answer in enumerate(found["answers"]):
        option = here.candidates.nth(index)
        expect(option).to_be_focused()
        expect(option).to_have_attribute("aria-selected", "true")
        expect(here.page.locator("[aria-selected=true]")).to_have_count(1)
        shown, _, share = option.locator(".line").inner_text().rpartition("\n")
        sentence = answer["evidence"]["sentence"]["text"]
        where = option.locator(".where").inner_text()
        assert where.startswith(" ".join(sentence.split()))
        assert f"line {answer['evidence']['line']}" in where
        assert shown == " ".join(answer["text"].split())
        assert here.marked() == place(TEXT, answer)
        width = option.locator(".meter span").evaluate("(bar) => getComputedStyle(bar).getPropertyValue('--p')")
        assert float(width) == pytest.approx(answer["probability"], abs=1e-3)
        assert share.startswith(f"{100 * answer['probability']:.1f}" if answer["probability"] > 0.001 else "< 0.1")
        option.press("ArrowDown")
    expect(here.candidates.last).to_be_focused()
    expect(here.candidates.last).to_contain_text("No answer")
    assert here.marked() is None
    here.page.keyboard.press("Home")
    assert here.marked() == place(TEXT, found["answers"][0])
    here.page.keyboard.press("End")
    here.page.keyboard.press("ArrowUp")
    assert here.marked() == place(TEXT, found["answers"][-1])
    here.page.keyboard.press("Enter")
    expect(here.page.locator("#view mark")).to_be_focused()


def test_a_pointer_shows_a_candidate_for_as_long_as_it_is_on_it(here: Visit, served: Served) -> None:
    first, second = from_api(served, QUESTIONS[0], TEXT)["answers"][:2]
    here.read(TEXT)
    here.ask(QUESTIONS[0])
    here.candidates.nth(1).hover()
    assert here.marked() == place(TEXT, second)
    expect(here.page.locator("#view mark")).to_have_class("preview")
    here.question.hover()
    assert here.marked() == place(TEXT, first)
    here.candidates.nth(1).click()
    here.question.hover()
    assert here.marked() == place(TEXT, second)


def test_no_answer_is_shown_as_such(here: Visit, served: Served) -> None:
    question = "What is the capital of Peru?"
    found = from_api(served, question, TEXT)
    assert found["answer"] is None  # this bundle knows when, unless told otherwise
    here.read(TEXT)
    here.ask(question)
    said, result = here.page.locator("#said"), here.page.locator("#result")
    expect(said).to_have_text("No answer")
    expect(result).to_contain_text("Nothing found in the text")
    expect(result).to_contain_text("Nothing there answers this well enough")
    expect(result).not_to_contain_text("probability")  # that of the null may be small
    expect(here.candidates.first).to_contain_text("No answer")
    expect(here.page.get_by_role("button", name="Copy with source")).to_be_disabled()
    assert here.marked() is None
    here.candidates.nth(1).click()
    assert here.marked() == place(TEXT, found["answers"][0])
    here.page.get_by_role("switch", name="Always give a best guess").check()
    expect(said).to_have_text(found["answers"][0]["text"])
    assert here.marked() == place(TEXT, found["answers"][0])


def test_warnings_are_told(here: Visit, served: Served) -> None:
    question = "Who " + "really " * 90 + "renews the paint?"
    (warning,) = from_api(served, question, TEXT)["warnings"]
    here.read(TEXT)
    here.ask(question)
    expect(here.page.locator("#result")).to_contain_text(f"Note: {warning}")


def test_scores_tint_the_tokens(here: Visit, served: Served) -> None:
    body = {"question": QUESTIONS[0], "context": TEXT, "offset_unit": "utf16"}
    tokens = served.client.post("/v1/scores", json=body).json()["tokens"]
    found = from_api(served, QUESTIONS[0], TEXT)
    here.read(TEXT)
    here.ask(QUESTIONS[0])
    expect(here.page.locator(".tint")).to_have_count(0)
    here.page.get_by_role("switch", name="Expert view").check()
    expect(here.page.locator("#legend")).to_contain_text("S: the answer starts here")
    assert here.shown() == TEXT
    assert here.marked() == place(TEXT, found["answer"])
    wide = TEXT.encode("utf-16-le")
    best = max(tokens, key=lambda token: token["start_logit"])
    span = here.page.locator(f'[data-token="{tokens.index(best)}"]')
    assert span.inner_text() == wide[2 * best["start"] : 2 * best["end"]].decode("utf-16-le")
    assert span.evaluate("(node) => node.style.getPropertyValue('--s')") == "1.000"
    assert here.page.locator(".tint").first.evaluate("(node) => Number(node.style.getPropertyValue('--s'))") < 1
    start, end, score = map(float, re.findall(r"-?\d+\.\d+", here.candidates.first.locator(".sum").inner_text()))
    assert start == pytest.approx(best["start_logit"], abs=0.01)
    assert start + end == pytest.approx(score, abs=0.02)
    assert score == pytest.approx(found["answer"]["score"], abs=0.01)
    span.hover()
    expect(here.page.locator("#token")).to_contain_text(f"S {best['start_logit']:.2f}".replace("-", "−"))
    here.page.get_by_role("region", name="Text to read").focus()
    here.page.keyboard.press("ArrowRight")
    following = tokens[tokens.index(best) + 1]
    expect(here.page.locator("#token")).to_contain_text(f"S {following['start_logit']:.2f}".replace("-", "−"))
    here.page.get_by_role("switch", name="Expert view").uncheck()
    expect(here.page.locator(".tint")).to_have_count(0)
    expect(here.page.locator("#legend")).to_be_hidden()
    assert here.marked() == place(TEXT, found["answer"])


@pytest.mark.parametrize("name", ["A night market 🏮", "A server outage", "A rental agreement"])
def test_examples_answer_their_questions(here: Visit, name: str) -> None:
    here.page.get_by_role("button", name=name).click()
    expect(here.question).to_be_focused()
    chips = here.page.get_by_role("group", name="Questions to try").get_by_role("button")
    assert chips.count() == 3
    for chip in chips.all():
        chip.click()
        expect(here.question).to_have_value(chip.inner_text())
        here.page.wait_for_selector("#said")
        marked = here.marked()
        assert marked is not None
        expect(here.page.locator("#said")).to_have_text(marked[1])
        here.page.keyboard.press("Escape")


def test_a_typed_text_is_asked_and_edited(here: Visit) -> None:
    draft = here.page.get_by_role("textbox", name="Text", exact=True)
    draft.fill("The boat is blue.")
    here.question.fill("What colour is the boat?")
    draft.press("Control+Enter")
    expect(here.page.locator("#said")).to_have_text("blue")
    expect(here.question).to_be_focused()
    here.page.get_by_role("button", name="Edit").click()
    expect(draft).to_be_focused()
    expect(draft).to_have_value("The boat is blue.")
    expect(here.page.locator("#said")).to_have_count(0)  # its place may be gone
    expect(here.candidates).to_have_count(0)
    draft.fill("  The boat is green.\n")
    here.ask("What colour is the boat?")
    assert here.shown() == "  The boat is green.\n"
    assert here.marked() == (14, "green")
    here.page.get_by_role("button", name="Clear").click()
    expect(draft).to_have_value("")
    expect(here.page.get_by_role("group", name="Example texts")).to_be_visible()


def test_escape_clears(here: Visit) -> None:
    here.read(TEXT)
    here.ask(QUESTIONS[0])
    here.question.press("ArrowDown")
    here.page.keyboard.press("Escape")
    expect(here.question).to_have_value("")
    expect(here.question).to_be_focused()
    expect(here.page.locator("#said")).to_have_count(0)
    assert here.marked() is None
    assert here.shown() == TEXT
