"""examples/browser: JavaScript in a real browser reads the default bundle, and answers as the package does."""

from __future__ import annotations

import json
import random
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import Example, Options, Reader, Windower
from qa_onnx.engines.names import PRECISIONS
from qa_onnx.evaluation import golden
from tests.axe import faults
from tests.browser import DEFAULT_BUNDLE, expect, visit
from tests.npm import PATIENCE_S, npm, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.browser import Visit

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"

LIGHTHOUSE = (EXAMPLES / "lighthouse.txt").read_text(encoding="utf-8")
# An emoji and a rare ideograph have two UTF-16 units and are one character; a letter and its accent may be two.
PAINT = "🗼 The tower (東京塔) 👩‍🌾 opened in 1958. Its paint 🎨 is renewed by E\u0301mile Ōta (太田), in 𠮷野🚪."
LISTS = "Ferry\tleaves\r\nNorth\t7\r\nSouth\t9\r\n\r\n- The boat is blue.\n- The sail is white."
GOLDEN = [
    Example(item["question"], item["context"])
    for item in json.loads(min(DEFAULT_BUNDLE.glob("golden-*.json")).read_text(encoding="utf-8"))["examples"]
]
LONG = [
    Example("Who designed the tower that stands today?", LIGHTHOUSE),
    Example("Who was the last keeper?", f"🗼é{'𠮷🎨 ' * 200}\n\n{LIGHTHOUSE}"),
]
SHORT = [
    Example("Who renews the paint?", PAINT),
    Example("When did the tower open? [SEP]", f"[SEP] {PAINT}"),
    Example("What colour is the sail?", LISTS),
    Example("When does the ferry to the south leave?", LISTS),
    Example("Which planet is the largest?", "The boat is blue."),
    Example("Who?", " \n"),
]

# What texts of all kinds are made of: scripts, marks, sequences, blanks, blocks, words that are too long.
BITS = (
    *(
        "The",
        "tower",
        "unaffable",
        "café",
        "cafe\u0301",
        "O\u0308\u0323",
        "ΟΔΟΣ",
        "ß",
        "İ",
        "ﬁ",
        "don't",
        "a_b",
        "½",
    ),
    *("東京", "𠮷野", "한국어", "\u1100\u1161\u11a8", "हिन्दी", "क्षि", "ไทย", "שָׁלוֹם", "مُحَمَّد", "カタ", "ｶﾀ", "𝔘𝔫𝔦"),
    *(
        "🗼",
        "👩‍🌾",
        "🇫🇷",
        "🇩🇪",
        "[SEP]",
        "##x",
        "x" * 99,
        "y" * 101,
        "1912",
        "\u00ad",
        "\u200b",
        "\u200d",
        "\ufeff",
    ),
    *(
        " ",
        "  ",
        "\n",
        "\n\n",
        "\r\n\r\n",
        "\t",
        "|",
        "| a | b |",
        "- ",
        "1. ",
        "\u00a0",
        "\u3000",
        "\u0085",
        "\u001d",
    ),
    *(".", ",", "…", "„", "•", " \u0301"),
)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the build makes, from a clean copy of the example's files."""
    folder = tmp_path_factory.mktemp("example") / "browser"
    shutil.copytree(EXAMPLES / "browser", folder, ignore=shutil.ignore_patterns("node_modules", "build"))
    npm("ci", folder=folder)
    build = run("node", "build.mjs", str(DEFAULT_BUNDLE), folder=folder)
    assert build.returncode == 0, build.stderr
    return folder / "build"


@pytest.fixture(scope="module")
def port(built: Path) -> Iterator[int]:
    """Serve the folder as any server of files does; the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(built))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def seen(browser: Browser, port: int) -> Iterator[Visit]:
    """Somebody at the page, which may ask nobody but its server and complain of nothing."""
    served: Any = SimpleNamespace(port=port)
    with visit(browser, served) as visited:
        visited.page.set_default_timeout(1000 * PATIENCE_S)
        yield visited


def press(seen: Visit, button: str) -> None:
    """Press a button and wait until the page is done."""
    seen.page.get_by_role("button", name=button).click()
    expect(seen.page.get_by_role("button", name=button)).to_be_enabled(timeout=1000 * PATIENCE_S)


def status(seen: Visit) -> str:
    return seen.page.get_by_role("status").inner_text()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_golden_examples_are_reproduced(seen: Visit, precision: str) -> None:
    seen.page.get_by_label("Precision").select_option(precision)
    press(seen, "Check the golden examples")
    assert status(seen).startswith("The golden examples are reproduced: windows 5,")
    stated = seen.page.evaluate("import('/reader.mjs').then(({ GOLDEN, TOLERANCES }) => ({ GOLDEN, TOLERANCES }))")
    assert stated["TOLERANCES"][precision] == PRECISIONS[precision].tolerance
    own = golden.OPTIONS
    assert list(stated["GOLDEN"].values()) == [own.max_length, own.doc_stride, own.max_question_length]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_answers_and_their_places_are_those_of_the_reader(seen: Visit, precision: str) -> None:
    # One window at a time: the activations of int8 windows that run together share one range.
    reader = Reader.load(DEFAULT_BUNDLE, precision=precision, options=Options(batch_tokens=1), threads=1)
    examples = [*GOLDEN, *LONG, *SHORT]
    script = """async ([precision, examples]) => {
        const { Reader } = await import("/reader.mjs");
        const reader = await Reader.load("bundle", precision);
        const answers = [];
        for (const [question, text] of examples) {
            const answer = await reader.ask(question, text);
            answers.push({ ...answer, sliced: text.slice(answer.start, answer.end) });
        }
        return answers;
    }"""
    found = seen.page.evaluate(script, [precision, [[example.question, example.context] for example in examples]])
    tolerance = 1e-4 if precision == "fp32" else 0.5
    for example, answer in zip(examples, found, strict=True):
        expected = reader.ask(example.question, example.context)
        assert (answer["text"], answer["characters"]) == (expected.text, [expected.start, expected.end])
        assert answer["sliced"] == example.context[expected.start : expected.end]
        assert answer["score"] == pytest.approx(expected.score, abs=tolerance)
        assert answer["probability"] == pytest.approx(expected.probability, abs=tolerance / 4)
    assert all(answer["windows"] >= 3 for answer in found[len(GOLDEN) :][: len(LONG)])
    assert sum(answer["text"] != "" for answer in found) >= len(LONG) + 4


def test_tokens_their_places_and_blocks_are_those_of_the_windower(seen: Visit) -> None:
    choice = random.Random(0)  # any text will do, but the same ones in each run
    texts = ["".join(choice.choices(BITS, k=choice.randint(1, 14))) for _ in range(400)]
    script = """async (texts) => {
        const { Reader } = await import("/reader.mjs");
        const { blocksOf } = await import("/boundaries.mjs");
        const { windower } = await Reader.load("bundle", "int8");
        return texts.map((text) => ({ ...windower.encode(text), blocks: blocksOf(windower.encode(text)) }));
    }"""
    tokenizer = next(DEFAULT_BUNDLE.glob("tokenizer-*.json")).read_text(encoding="utf-8")
    cut = Windower(tokenizer).cut([Example("Who?", text) for text in texts], Options())
    for text, example, found in zip(texts, cut, seen.page.evaluate(script, texts), strict=True):
        context = example.windows[0].context
        assert found["ids"] == context.ids.tolist(), repr(text)
        places = [context.characters(token, token) for token in range(len(context.ids))]
        expected = [[units(text[:start]), units(text[:end])] for start, end in places]
        assert [list(place) for place in zip(found["starts"], found["ends"], strict=True)] == expected, repr(text)
        blocks = found["blocks"]
        assert [at for at in range(1, len(blocks)) if blocks[at] != blocks[at - 1]] == list(context.blocks), repr(
            text
        )


def units(text: str) -> int:
    """UTF-16 units, of which JavaScript's strings consist."""
    return len(text.encode("utf-16-le")) // 2


def test_nothing_can_be_pressed_before_the_precisions_are_known(seen: Visit) -> None:
    held: list[Any] = []
    seen.page.route("**/bundle/bundle.json", lambda route: held.append(route))  # noqa: PLW0108  # it sets attributes
    seen.page.reload(wait_until="commit")
    ask = seen.page.get_by_role("button", name="Ask")
    expect(ask).to_be_disabled()
    with seen.page.expect_response("**/bundle/bundle.json"):
        while not held:
            seen.page.wait_for_timeout(20)
        held[0].continue_()
    expect(ask).to_be_enabled()
    assert seen.page.get_by_label("Precision").locator("option").all_inner_texts() == ["int8", "fp32"]


def test_an_answer_is_marked_in_the_text(seen: Visit) -> None:
    seen.page.get_by_label("Text").fill(PAINT)
    seen.page.get_by_label("Question").fill("Who renews the paint?")
    press(seen, "Ask")
    name = "E\u0301mile Ōta"
    start = PAINT.index(name)
    place = f"characters {start} to {start + len(name)}"
    assert re.fullmatch(rf"{name} \(9\d\.\d %, {place}; \d+ ms, windows: 1\)", status(seen))
    parts = seen.page.evaluate("[...document.getElementById('shown').childNodes].map((node) => node.textContent)")
    assert parts == [PAINT[:start], name, PAINT[start + len(name) :]]
    assert seen.page.locator("mark").inner_text() == name
    assert faults(seen.page) == []


def test_a_question_without_an_answer_gets_none(seen: Visit) -> None:
    seen.page.get_by_label("Text").fill("The boat is blue.")
    seen.page.get_by_label("Question").fill("Which planet is the largest?")
    press(seen, "Ask")
    assert status(seen).startswith("No answer in this text")
    assert seen.page.locator("mark").count() == 0


def test_a_damaged_file_is_refused_and_loaded_again_at_the_next_question(seen: Visit) -> None:
    damaged = "**/tokenizer-*.json"
    seen.page.route(damaged, lambda route: route.fulfill(body="{}"))
    press(seen, "Ask")
    assert re.match(r"error: tokenizer-\w+\.json was changed or damaged", status(seen))
    seen.page.unroute(damaged)
    press(seen, "Ask")
    assert status(seen).startswith("Émile Ōta")


def test_the_packages_are_pinned_and_fetched_from_the_registry_that_the_user_has_set() -> None:
    lock = json.loads((EXAMPLES / "browser" / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
