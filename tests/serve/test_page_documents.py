"""The page at / with files of many kinds: the list of them, answers with their sources, progress and errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import DEFAULT_BUNDLE, N_BEST, expect, visit
from tests.documents.made import paragraph, pdf, word_archive
from tests.served import serve
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Route

    from tests.browser import Visit
    from tests.served import Served

pytestmark = pytest.mark.slow

PDF = pdf(
    "The old tower stands near the harbour. It was built by Agnes Halloran.",
    "The rent of the house is 940 euros a month.\nIt is due on the fifth day of the month.",
    "The lamp of the lighthouse was lit in 1887.",
)
DOCX = word_archive(paragraph("The boat belongs to Priya Raman.") + paragraph("It is painted blue every spring."))
HTML = b"""<!DOCTYPE html><html><body><nav>Home</nav><h1>Garden</h1>
<p>The garden opens on <b>Mondays</b> at noon.</p></body></html>"""
MARKDOWN = "# Market 🏮\n\nMrs *Tanaka* sells octopus dumplings.\n".encode()
CSV = b"city,mayor\nPorto,Lena Sousa\nTurku,Matti Virtanen\n"
FILES = (
    ("report.pdf", PDF),
    ("boat.docx", DOCX),
    ("garden.html", HTML),
    ("market.md", MARKDOWN),
    ("mayors.csv", CSV),
)
# A question, and of its answer: the file, what it has in it, the place as the page says it.
ASKED = (
    ("When is the rent due?", "report.pdf", "fifth day", "page 2, line 2"),
    ("When was the lamp of the lighthouse lit?", "report.pdf", "1887", "page 3, line 1"),
    ("Who owns the boat?", "boat.docx", "Priya Raman", "line 1"),
    ("On which days does the garden open?", "garden.html", "Mondays", "line "),
    ("What does Mrs Tanaka sell?", "market.md", "octopus dumplings", "line 3"),
    ("Who is the mayor of Turku?", "mayors.csv", "Matti Virtanen", "line 2"),
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve("--precision", "int8", bundle=DEFAULT_BUNDLE) as running:
        yield running


def text_of(served: Served, name: str) -> str:
    """The text that the server makes of one of the files."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    text: str = served.client.post("/v1/documents", content=dict(FILES)[name], headers=headers).json()["text"]
    return text


def entry(here: Visit, name: str) -> Any:
    return here.page.get_by_role("list", name="Documents").get_by_role("listitem").filter(has_text=name)


def test_each_kind_of_file_alone(here: Visit, served: Served) -> None:
    for question, name, words, place in ASKED:
        if here.page.get_by_role("button", name="Clear", exact=True).is_visible():
            here.page.get_by_role("button", name="Clear", exact=True).click()
        here.add((name, dict(FILES)[name]))
        assert here.shown() == text_of(served, name)
        here.ask(question)
        check(here, served, name, words, place)


def check(here: Visit, served: Served, name: str, words: str, place: str) -> None:
    """Check the answer, its mark in its document, and what is said of its place."""
    text = text_of(served, name)
    expect(here.page.locator("#said")).to_contain_text(words)
    marked = here.marked()
    assert marked is not None
    start, found = marked
    wide = text.encode("utf-16-le")
    assert wide[2 * start : 2 * (start + len(found))].decode("utf-16-le") == found
    assert words in found
    assert here.shown() == text
    expect(here.page.locator("#result")).to_contain_text(place)
    expect(here.candidates.first.locator(".source")).to_contain_text(place)


def test_all_kinds_together(here: Visit, served: Served) -> None:
    here.add(*FILES)
    assert here.page.locator("#documents li").count() == len(FILES)
    expect(entry(here, "report.pdf")).to_contain_text("3 pages")
    for question, name, words, place in ASKED:
        here.ask(question)
        check(here, served, name, words, place)
        expect(entry(here, name).locator("[aria-current=true]")).to_be_visible()
        expect(here.page.locator("#result")).to_contain_text(name)
        expect(here.candidates.first.locator(".source")).to_contain_text(f"{name}, {place}")
    assert here.candidates.count() == N_BEST + 1


def test_every_answer_is_listed_if_that_is_wanted(here: Visit) -> None:
    texts = {"a.txt": "The landlord is Mara Field.", "b.txt": "The landlord is Jonas Berg. The flat is small."}
    here.add(*((name, text.encode()) for name, text in texts.items()))
    here.page.get_by_role("switch", name="List every answer").check()
    here.ask("Who is the landlord?")
    rows = [one.inner_text() for one in here.candidates.locator(".line > span:first-child").all()]
    assert sorted(rows) == ["Jonas Berg", "Mara Field", "No answer"]
    here.page.get_by_role("switch", name="List every answer").uncheck()
    expect(here.candidates).not_to_have_count(3)


def test_pages_are_marked_and_are_no_text(here: Visit, served: Served) -> None:
    here.add(FILES[0])
    pages = here.page.evaluate(
        """[...document.querySelectorAll("[data-page]")]
            .map((node) => getComputedStyle(node, "::before").content)"""
    )
    assert pages == ['"Page 1"', '"Page 2"', '"Page 3"']
    assert here.shown() == text_of(served, "report.pdf")


def test_an_answer_of_another_document_shows_that(here: Visit) -> None:
    here.add(("a.txt", b"The boat is blue."), ("b.txt", b"The boat of the Patels is green. " * 3))
    here.ask("What colour is the boat?")
    names = [one.inner_text().split(",")[0] for one in here.candidates.locator(".source").all()]
    assert set(names) == {"a.txt", "b.txt"}
    for index, name in enumerate(names):
        here.candidates.nth(index).click()
        expect(entry(here, name).locator("[aria-current=true]")).to_be_visible()
        assert here.marked() is not None
    expect(here.candidates.locator(".source", has_text="of 3 places with these words").first).to_be_visible()
    here.candidates.first.click()
    other = "b.txt" if names[0] == "a.txt" else "a.txt"
    entry(here, other).get_by_role("button").first.click()  # to read on in another one
    assert here.marked() is None
    assert here.candidates.count() > 2
    here.candidates.first.click()
    assert here.marked() is not None


def test_an_answer_is_copied_with_its_source(here: Visit) -> None:
    here.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    here.add(FILES[0])
    here.ask("When was the lamp of the lighthouse lit?")
    here.page.get_by_role("button", name="Copy with source").click()
    expect(here.page.locator("#copied")).to_have_text("Copied")
    said = here.page.locator("#said").inner_text()
    copied = here.page.evaluate("navigator.clipboard.readText()")
    assert copied == f"“{said}” — report.pdf, page 3, line 1"


def test_documents_are_removed(here: Visit) -> None:
    here.add(*FILES[:3])
    here.ask("Who owns the boat?")
    entry(here, "boat.docx").get_by_role("button", name="Remove boat.docx").click()
    expect(here.page.locator("#documents li")).to_have_count(2)
    expect(here.page.get_by_role("button", name="Remove garden.html")).to_be_focused()
    expect(here.page.locator("#said")).to_have_count(0)
    for name in ("report.pdf", "garden.html"):
        here.page.get_by_role("button", name=f"Remove {name}").click()
    expect(here.page.get_by_role("textbox", name="Text", exact=True)).to_be_visible()
    expect(here.page.locator("#documents")).to_be_hidden()


def test_one_name_twice(here: Visit) -> None:
    here.add(("a.txt", b"The boat is blue."), ("a.txt", b"The sail is white."))
    expect(entry(here, "a.txt (2)")).to_be_visible()
    here.ask("What is white?")
    expect(here.page.locator("#said")).to_contain_text("sail")


def test_a_folder_is_read_without_what_is_no_document(here: Visit, tmp_path: Path) -> None:
    (tmp_path / "papers" / "old").mkdir(parents=True)
    (tmp_path / "papers" / "lease.pdf").write_bytes(PDF)
    (tmp_path / "papers" / "old" / "boat.docx").write_bytes(DOCX)
    (tmp_path / "papers" / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    here.page.set_input_files("#folder", tmp_path / "papers")
    expect(here.page.locator("#documents li")).to_have_count(2)
    expect(entry(here, "papers/old/boat.docx")).to_be_visible()
    expect(here.page.locator("#skipped")).to_have_text("1 file left out: no documents that are read here.")
    expect(here.page.locator("#documents .reading")).to_have_count(0)
    here.ask("Who owns the boat?")
    expect(here.page.locator("#result")).to_contain_text("papers/old/boat.docx, line 1")


def test_typed_text_and_files_are_asked_together(here: Visit) -> None:
    here.page.get_by_role("textbox", name="Text", exact=True).fill("The sail is white.")
    here.add(FILES[1])
    here.ask("What is white?")
    expect(here.page.locator("#result")).to_contain_text("Your text, line 1")


def test_damaged_and_too_large_files_say_so_and_the_others_are_asked(browser: Browser) -> None:
    with (
        serve("--precision", "int8", "--max-request-bytes", 20_000, bundle=DEFAULT_BUNDLE) as served,
        visit(browser, served, refusals=True) as here,
    ):
        broken = ("broken.pdf", PDF[:300]), ("broken.docx", DOCX[:200]), ("large.pdf", b"%PDF-" + b" " * 200_000)
        here.add(*broken, ("long.html", b"<p>" + b"word " * 9000), FILES[1])
        expect(entry(here, "broken.pdf")).to_contain_text("damaged PDF")
        expect(entry(here, "broken.docx")).to_contain_text("damaged or encrypted Word document")
        expect(entry(here, "large.pdf")).to_contain_text("This is too large for the server")
        expect(entry(here, "long.html")).to_contain_text("more than 20,000 characters of text: split it")
        expect(here.page.locator("#skipped")).to_have_text("4 of 5 documents cannot be read.")
        entry(here, "large.pdf").get_by_role("button", name="large.pdf").first.click()
        expect(here.error).to_contain_text("larger than 160000 bytes")
        here.ask("Who owns the boat?")
        expect(here.page.locator("#said")).to_contain_text("Priya Raman")


def test_a_server_that_wants_a_key_reads_files_after_it(browser: Browser, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("correct-horse-battery-staple\n", encoding="ascii")
    with (
        serve("--precision", "int8", "--api-key-file", keys, bundle=DEFAULT_BUNDLE) as served,
        visit(browser, served, refusals=True) as here,
    ):
        here.add(FILES[1])
        expect(entry(here, "boat.docx")).to_contain_text("This server wants an API key")
        field = here.page.get_by_label("API key of this server")
        expect(field).to_be_focused()
        field.fill("correct-horse-battery-staple")
        here.start("Who owns the boat?")
        expect(here.page.locator("#said")).to_contain_text("Priya Raman")


def test_the_model_and_its_licence_are_named(here: Visit) -> None:
    link = here.page.get_by_role("link", name="CC BY-SA 4.0")
    expect(link).to_have_attribute("href", "https://creativecommons.org/licenses/by-sa/4.0/")
    expect(here.page.locator("#model")).to_contain_text("SQuAD")
    expect(here.page.locator("#model")).not_to_contain_text("int8")
    here.page.get_by_role("switch", name="Expert view").check()
    expect(here.page.locator("#model")).to_contain_text("int8")
    here.page.get_by_role("switch", name="Expert view").uncheck()
    here.page.get_by_role("link", name="For developers").click()
    expect(here.page.get_by_role("heading", name="POST /v1/documents")).to_be_visible()
    here.page.go_back()


def test_progress_is_shown_and_the_answer_follows(here: Visit) -> None:
    here.page.set_default_timeout(60_000)
    text = "The sea is calm. " * 900 + "The boat is blue."
    here.read(text)
    here.page.evaluate(
        """() => {
            globalThis.counts = [];
            const count = document.getElementById("count");
            new MutationObserver(() => counts.push(count.textContent)).observe(count, { childList: true });
        }"""
    )
    here.ask("What colour is the boat?")
    counts = here.page.evaluate("counts")
    assert counts
    total = counts[0].split()[2]
    assert all(one.endswith(f"of {total} parts read") for one in counts)
    expect(here.page.locator("#progress")).to_be_hidden()
    expect(here.page.locator("#said")).to_have_text("blue")


@pytest.mark.parametrize("how", ["Stop", "leave"])
def test_to_stop_or_to_leave_ends_the_work(browser: Browser, how: str) -> None:
    with serve(gated=True) as served, visit(browser, served) as here:
        served.gate.hold()
        here.add(("a.txt", b"The boat is blue. " * 200), ("b.txt", b"The sail is white. " * 200))
        here.start("What is blue?")
        served.gate.wait_for_a_run()
        if how == "Stop":
            here.page.get_by_role("button", name="Stop").click()
        else:
            here.page.goto("about:blank")
        eventually(lambda: served.metric("qa_onnx_queue_depth") == 0, "nothing of it waits")
        served.gate.release()
        if how == "leave":
            here.page.goto(f"{here.origin}/")


def test_an_answer_that_breaks_off_is_told(here: Visit) -> None:
    progress = {"progress": {"done": 1, "total": 2}}
    problem = {"status": 504, "detail": "too late", "request_id": "r-17"}

    def handle(route: Route) -> None:
        lines = [progress] if "cut" in (route.request.post_data or "") else [progress, {"error": problem}]
        route.fulfill(body="\n".join(map(json.dumps, lines)), content_type="application/jsonl")

    here.page.route("**/v1/answer", handle)
    here.read("The boat is blue.")
    here.start("What is blue?")
    expect(here.error).to_contain_text("The server ran out of time")
    here.start("What is cut?")
    expect(here.error).to_contain_text("ends too early")


def test_on_a_phone_all_that_is_touched_is_large_enough(browser: Browser, served: Served) -> None:
    looks: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    with visit(browser, served, refusals=True, **looks) as here:
        here.add(*FILES[:2], ("broken.pdf", PDF[:300]))
        here.ask("Who owns the boat?")
        small = here.page.evaluate(
            """[...document.querySelectorAll("button, input, nav a, [role=option], label:has(input)")]
                .filter((node) => node.checkVisibility() && node.getAttribute("role") !== "switch")
                .map((node) => [node.id || node.textContent, node.getBoundingClientRect()])
                .filter(([, place]) => place.height < 44 || place.width < 44)
                .map(([name, place]) => `${name}: ${place.width} x ${place.height}`)"""
        )
        assert small == []
        assert here.page.evaluate("document.documentElement.scrollWidth") <= 390
        expect(here.page.locator("#view mark").first).to_be_in_viewport()
