"""The page at / for everyone: light and dark, on a phone, by keyboard, for a screen reader."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import expect, visit
from tests.served import serve
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.browser import Visit
    from tests.served import Served

pytestmark = pytest.mark.slow

TEXT = "The boat is blue and the sail is white.\n" + "Unbroken" * 80 + "\n"
QUESTION = "What colour is the boat?"
PHONE = {"width": 360, "height": 740}
STATES = ("empty", "answer", "candidate", "scores", "no answer", "error", "key")

# Luminance and ratio as WCAG 2.2 defines them, of each text that is seen, on what lies behind it. Tinted tokens
# are reckoned with the full tint of either half.
CONTRASTS = """() => {
    const channel = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const colour = (css) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = css;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].map((c) => c / 255);
    };
    const over = (top, below) => below.map((c, i) => top[i] * top[3] + c * (1 - top[3]));
    const behind = (node) => {
        const style = getComputedStyle(node), own = colour(style.backgroundColor);
        const stops = style.backgroundImage.match(/(?:rgba?|color|color-mix|oklab)\\([^()]*\\)/g) ?? [];
        const base = node.parentElement && own[3] < 1 ? behind(node.parentElement) : [[1, 1, 1]];
        const plain = base.map((below) => over(own, below));
        return stops.length ? stops.flatMap((stop) => plain.map((below) => over(colour(stop), below))) : plain;
    };
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || node.closest("script, style, noscript")) continue;
        if (!node.checkVisibility()) continue;
        const ink = luminance(colour(getComputedStyle(node).color));
        const ratio = (ground) => (Math.max(ground, ink) + 0.05) / (Math.min(ground, ink) + 0.05);
        const ratios = behind(node).map(luminance).map(ratio);
        found.push([Math.min(...ratios), node.tagName, walker.currentNode.data.trim().slice(0, 40)]);
    }
    return found;
}"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


def bring(here: Visit, state: str) -> None:
    """Bring the page to one of its states."""
    if state == "empty":
        return
    here.read(TEXT)
    if state in {"error", "key"}:
        status = {"error": 504, "key": 401}[state]
        problem: Any = {"detail": "reason " * 20}
        here.page.route("**/v1/answer", lambda route: route.fulfill(status=status, json=problem))
        here.start(QUESTION)
        expect(here.error).to_be_visible()
        return
    if state == "no answer":
        none: Any = {"answer": None, "answers": [], "null_score": 1, "null_probability": 0.7, "milliseconds": 2}
        here.page.route("**/v1/answer", lambda route: route.fulfill(json={**none, "warnings": ["a warning"]}))
    here.ask(QUESTION)
    if state == "candidate":
        here.candidates.nth(2).click()
        here.candidates.nth(3).hover()
    if state == "scores":
        here.page.get_by_role("switch", name="Expert view").check()
        expect(here.page.locator("#legend")).to_be_visible()


@pytest.mark.parametrize("state", STATES)
def test_every_text_has_contrast_enough(browser: Browser, served: Served, state: str) -> None:
    with visit(browser, served, refusals=True) as here:
        bring(here, state)
        for scheme in ("light", "dark"):
            here.page.emulate_media(color_scheme=scheme)
            ratios = here.page.evaluate(CONTRASTS)
            assert len(ratios) > 8
            assert [found for found in ratios if found[0] < 4.5] == [], scheme
            ground = here.page.evaluate("getComputedStyle(document.body).backgroundColor")
            bright = sum(map(int, re.findall(r"\d+", ground)[:3])) > 3 * 128
            assert bright == (scheme == "light")


@pytest.mark.parametrize("state", STATES)
def test_a_small_screen_does_not_scroll_sideways(browser: Browser, served: Served, state: str) -> None:
    with visit(browser, served, refusals=True, viewport=PHONE, has_touch=True) as here:
        bring(here, state)
        for width, height in ((360, 740), (320, 256), (700, 320)):
            here.page.set_viewport_size({"width": width, "height": height})
            widths = here.page.evaluate(
                "[document.documentElement, document.body].map((node) => node.scrollWidth)"
            )
            assert max(widths) <= width
            beyond = here.page.evaluate(
                "[...document.querySelectorAll('#view, #draft, .chunk')].map((n) => n.scrollWidth - n.clientWidth)"
            )
            assert max(beyond) == 0


def test_on_a_phone_a_candidate_and_its_place_are_seen_together(browser: Browser, served: Served) -> None:
    with visit(browser, served, viewport={"width": 360, "height": 560}) as here:
        here.page.get_by_role("switch", name="Expert view").check()
        here.read("The sea is calm today.\n" * 60 + TEXT)
        here.ask(QUESTION)
        expect(here.page.locator("#legend")).to_be_visible()
        here.question.press("ArrowDown")
        last = here.candidates.count() - 2  # before "no answer"
        steps = [(index, "ArrowDown") for index in range(last)] + [
            (index, "ArrowUp") for index in range(last, -1, -1)
        ]
        for index, key in steps:
            expect(here.candidates.nth(index)).to_be_focused()
            eventually(here.in_sight, "the mark is scrolled to")
            expect(here.page.locator("#view mark").first).to_be_in_viewport()
            expect(here.candidates.nth(index)).to_be_in_viewport(ratio=0.9)
            assert here.page.evaluate(  # not beneath the text, which stays at the top
                """(() => {
                    const place = document.activeElement.getBoundingClientRect();
                    const top = document.elementFromPoint(place.left + 20, place.top + 10);
                    return document.activeElement.contains(top);
                })()"""
            )
            here.page.keyboard.press(key)


def test_roles_and_names(browser: Browser, served: Served) -> None:
    with visit(browser, served) as here:
        expect(here.page.locator("body")).to_match_aria_snapshot("""
            - banner:
              - heading "qa-onnx" [level=1]
              - paragraph
              - navigation "More":
                - link "For developers":
                  - /url: docs
            - main:
              - region "Text":
                - heading "Text" [level=2]
                - button "Add files"
                - button "Add a folder"
                - group "Example texts":
                  - button "A night market 🏮"
                  - button "A server outage"
                  - button "A rental agreement"
                - textbox "Text"
              - region "Question and answer":
                - textbox "Question"
                - button "Ask"
                - group "Settings":
                  - switch "Always give a best guess"
                  - switch "List every answer"
                  - switch "Expert view"
                - status
                - paragraph: /Enter asks/
                - paragraph: /tiny-bert/
        """)
        bring(here, "answer")
        expect(here.page.locator("main")).to_match_aria_snapshot("""
            - region "Text":
              - button "Edit"
              - button "Clear"
              - list "Documents":
                - listitem:
                  - button /text.txt/
                  - button "Remove text.txt"
              - region "Text to read":
                - mark
            - region "Question and answer":
              - status:
                - heading "Answer" [level=2]
                - paragraph
                - paragraph: /probability [\\d.< ]+ % · line \\d/
              - heading "Answers" [level=2]
              - button "Copy with source"
              - listbox "Answers":
                - option [selected]
                - option
                - option
                - option
                - option
                - option /No answer/
        """)
        status = here.page.locator("#result")
        expect(status).to_have_attribute("aria-live", "polite")
        expect(here.page.locator("html")).to_have_attribute("lang", "en")


def test_all_is_done_by_keyboard_alone(browser: Browser, served: Served) -> None:
    with visit(browser, served) as here:
        press = here.page.keyboard.press

        def tab_to(what: str) -> None:
            """Tab until a control has the focus, and see that it shows."""
            for _ in range(12):
                press("Tab")
                found = here.page.evaluate(
                    """(() => {
                        const node = document.activeElement, style = getComputedStyle(node);
                        return [node.id || node.textContent, node.matches(":focus-visible"), style.outlineStyle,
                            parseFloat(style.outlineWidth)];
                    })()"""
                )
                assert found[1:3] == [True, "solid"], found
                assert found[3] >= 2
                if found[0] == what:
                    return
            pytest.fail(f"Tab does not reach {what}")

        tab_to("open")
        tab_to("A server outage")
        press("Enter")
        expect(here.question).to_be_focused()
        here.page.keyboard.type("What was the cause?")
        press("Enter")
        here.page.wait_for_selector("#said")
        tab_to("ask")
        tab_to("scores")
        press("Space")
        expect(here.page.locator("#legend")).to_be_visible()
        press("Tab")
        press("Tab")
        expect(here.candidates.first).to_be_focused()
        press("ArrowDown")
        press("Enter")
        expect(here.page.locator("#view mark")).to_be_focused()
        press("Shift+Tab")
        expect(here.page.get_by_role("region", name="Text to read")).to_be_focused()
        press("ArrowRight")
        expect(here.page.locator("#token")).to_contain_text(re.compile("S .+, E .+"))
        expect(here.page.locator(".tint.current")).to_have_count(1)
        names = ("Remove A server outage", "A server outage", "Add a folder", "Add files", "Clear", "Edit")
        for name in names:
            press("Shift+Tab")
            expect(here.page.get_by_role("button", name=re.compile(f"^{name}")).first).to_be_focused()
        press("Enter")
        expect(here.page.get_by_role("textbox", name="Text", exact=True)).to_be_focused()


def test_motion_is_reduced_on_request(browser: Browser, served: Served) -> None:
    moves = {}
    for wish in ("reduce", "no-preference"):
        with visit(browser, served, reduced_motion=wish) as here:
            bring(here, "answer")
            moves[wish] = here.page.evaluate(
                """["#view mark", ".meter span"].map((selector) => {
                    const style = getComputedStyle(document.querySelector(selector));
                    return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
                })"""
            )
    assert moves == {"reduce": [False, False], "no-preference": [True, True]}


def test_browsers_do_not_send_the_text_to_spelling_or_translation(browser: Browser, served: Served) -> None:
    with visit(browser, served) as here:
        assert here.page.evaluate("document.documentElement.translate") is False
        for field in ("#draft", "#question"):
            expect(here.page.locator(field)).to_have_attribute("spellcheck", "false")
            expect(here.page.locator(field)).to_have_attribute("autocomplete", "off")
