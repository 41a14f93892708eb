"""The site of the docs names all that is public, shows what the code gives, and its check finds what is wrong."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = {page.name: page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference").glob("*.md"))}
ROOMS = ("documents", "retrieval", "mapping", "export", "train", "data.squad", "client", "serve")
NAMED = set(re.findall(r"^\.\. auto\w+:: (\S+)$", "\n".join(REFERENCE.values()), re.MULTILINE))


@pytest.mark.parametrize("room", ["", *(f".{room}" for room in ROOMS)])
def test_the_reference_names_all_that_is_public(room: str) -> None:
    module = importlib.import_module(f"qa_onnx{room}")
    assert [name for name in module.__all__ if f"qa_onnx{room}.{name}" not in NAMED] == []


def test_every_room_with_public_names_is_in_the_reference() -> None:
    paths = (ROOT / "qa_onnx").rglob("*.py")
    with_names = {path for path in paths if "\n__all__ =" in path.read_text(encoding="utf-8")}
    known = [ROOT / "qa_onnx" / room.replace(".", "/") for room in ROOMS]
    assert with_names == {ROOT / "qa_onnx" / "__init__.py"} | {
        path / "__init__.py" if path.is_dir() else path.with_suffix(".py") for path in known
    }


def test_every_name_of_the_reference_exists_and_is_explained() -> None:
    for name in NAMED:
        module, _, attribute = name.rpartition(".")
        value = getattr(importlib.import_module(module), attribute)
        assert value.__doc__, name


def test_every_section_of_the_python_reference_has_an_example_that_uses_its_functions() -> None:
    with_names = 0
    for page, text in REFERENCE.items():
        for section in text.split("\n## ")[1:]:
            functions = re.findall(r"^\.\. autofunction:: \S+?(\w+)$", section, re.MULTILINE)
            if functions or ".. autoclass::" in section:
                examples = re.findall(r"^```py(?:thon)?\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
                assert examples, (page, section[:40])
                assert [name for name in functions if not re.search(rf"\b{name}\b", examples[0])] == [], page
                with_names += 1
    assert with_names > 20


def cells(text: str) -> list[tuple[str, str]]:
    """The code of a page that runs from top to bottom, each block with the output that is shown under it."""
    pattern = r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?"
    return re.findall(pattern, text, re.DOTALL | re.MULTILINE)


def rounded(text: str) -> list[str | float]:
    """Words and numbers; the last digit of a number may differ from CPU to CPU."""
    numbers = re.compile(r"-?\d+(?:\.\d+)?")
    return [float(part) if numbers.fullmatch(part) else part for part in re.findall(r"-?\d+(?:\.\d+)?|\S", text)]


def assert_alike(got: str, shown: str, tolerance: float) -> None:
    left, right = rounded(got), rounded(shown)
    assert len(left) == len(right), got
    for one, other in zip(left, right, strict=True):
        if isinstance(one, float) and isinstance(other, float):
            assert abs(one - other) <= tolerance, got
        else:
            assert one == other, got


def test_how_it_works_prints_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    namespace: dict[str, Any] = {}
    found = cells((DOCS / "how-it-works.md").read_text(encoding="utf-8"))
    assert len(found) > 10
    for code, shown in found:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "how-it-works.md", "exec"), namespace)
        assert_alike(printed.getvalue(), shown, 0.11)


def test_the_notebook_is_that_page() -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs the group docs")
    from page_notebook import PAGES, notebook

    for page in PAGES:
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        stored = (DOCS / f"{page}.ipynb").read_text(encoding="utf-8")
        assert stored == nbformat.writes(notebook(text)) + "\n", "make pictures"
        made = json.loads(stored)
        code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
        assert ["".join(cell["source"]) + "\n" for cell in code] == [source for source, _ in cells(text)]


def test_the_pictures_show_what_the_model_gives() -> None:
    from pictures import FOLDER, draw

    page = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    for name, svg in draw().items():
        assert f"(pictures/{name}.svg)" in page
        assert_alike(svg, (FOLDER / f"{name}.svg").read_text(encoding="utf-8"), 1.5)  # pixels


def words(text: str) -> str:
    return " ".join(text.split())


def test_every_message_of_the_errors_page_is_in_the_code() -> None:
    page = REFERENCE["errors.md"]
    rows = re.findall(r"^\| (.*?) \| .* \|$", page[: page.index("## The classes")], re.MULTILINE)
    shown = [message for row in rows for message in re.findall(r'"([^"]+)"', row)]
    assert len(shown) > 35
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "qa_onnx").rglob("*.py"))
    # Neighbouring literals are one text; a place in braces stands for what the page has in italics.
    code = re.sub(r'"\s*f?"', "", words("\n".join(sources)))
    for message in shown:
        pattern = re.sub(r"\\\*\w+\\\*", r"\\{[^}]*\\}+", re.escape(message.replace("`", "")))
        assert re.search(pattern, code), message


def test_the_tolerances_of_the_bundle_format_are_those_of_the_code() -> None:
    from qa_onnx.engines.names import PRECISIONS

    rows = re.findall(r"^\| ([\w, -]+) \| ([\d.]+) \|$", REFERENCE["bundle-format.md"], re.MULTILINE)
    shown = {name: float(value) for names, value in rows for name in names.split(", ")}
    assert shown == {name: one.tolerance for name, one in PRECISIONS.items()}


def test_the_keys_of_the_bundle_format_are_those_of_the_manifest() -> None:
    page = REFERENCE["bundle-format.md"]
    manifest = json.loads((ROOT / "exported" / "minilm-squad" / "bundle.json").read_text(encoding="utf-8"))
    assert [key for key in manifest if f"`{key}`" not in page] == []


def test_the_version_of_the_format_is_that_of_the_code() -> None:
    from qa_onnx.bundle.manifest import FORMAT_VERSION

    assert f"The version of the format is {'.'.join(map(str, FORMAT_VERSION))};" in REFERENCE["bundle-format.md"]


def test_the_check_of_built_pages_finds_what_is_wrong(tmp_path: Path) -> None:
    from check_site import problems

    (tmp_path / "other.html").write_text('<h1 id="here">Here</h1>')
    right = (
        '<a href="other.html#here">a</a><a href="#">b</a><a href="https://example.org/">c</a><img src="data:,">'
    )
    (tmp_path / "page.html").write_text(right)
    (tmp_path / "site.css").write_text("a { background: url(data:,) }")
    assert problems(tmp_path) == []

    wrong = '<a href="gone.html">a</a><a href="other.html#gone">b</a><img src="https://example.org/a.png">'
    (tmp_path / "page.html").write_text(wrong)
    (tmp_path / "site.css").write_text('@import "//fonts.example.org/a.css";')
    assert problems(tmp_path) == [
        "page.html loads https://example.org/a.png",
        "page.html links to gone.html, which does not exist",
        "page.html links to other.html#gone, where there is no such place",
        "site.css loads //fonts.example.org/a.css",
    ]


def test_links_that_leave_the_docs_lead_to_the_pages_of_the_site() -> None:
    from outside_links import mended

    page = DOCS / "bundles.md"
    text = "[a](../SECURITY.md#x), [b](../deploy), [c](../examples/lighthouse.txt), [d](data.md#y)\n"
    assert mended(text, page, page) == (
        "[a](background/security.md#x), `b`, [c](../examples/lighthouse.txt), [d](data.md#y)\n"
    )
    place = DOCS / "background" / "security.md"
    assert mended("[e](docs/data.md)", ROOT / "SECURITY.md", place) == "[e](../data.md)"
    code = "```text\n[f](../deploy)\n```\n"
    assert mended(code, page, page) == code


def test_every_command_and_its_options_are_described() -> None:
    pytest.importorskip("sphinx", reason="needs the group docs")
    from cli_reference import commands, described

    assert list(commands())[:2] == ["ask", "index"]
    for name, command in commands().items():
        text = described(name, command)
        assert text.startswith(f"## {name}\n")
        assert f"Usage: qa-onnx {name}" in text
        for param in command.params:
            assert max(param.opts, key=len) in text or param.human_readable_name in text
