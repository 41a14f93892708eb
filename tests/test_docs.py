"""What README and docs/ show is what happens: its Python runs, its commands print what it says."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from qa_onnx.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IN_ORDER = ("how-it-works.md",)  # pages whose blocks go on with each other; test_docs_site.py runs them


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def every_block(language: str) -> list[tuple[str, str]]:
    return [(page.name, code) for page in PAGES for code in blocks(language, page.read_text(encoding="utf-8"))]


def python_blocks() -> list[tuple[str, str]]:
    return [(page, code) for page, code in every_block("python") if page not in IN_ORDER]


def commands() -> list[tuple[str, str]]:
    """Each `$ qa-onnx ask ...` line that is followed by output, with that output."""
    found = []
    for _, block in every_block("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, output = part.split("\n", maxsplit=1)
            if command.startswith("qa-onnx ask ") and output.strip():
                found.append((command, output))
    return found


@pytest.mark.parametrize(("page", "code"), python_blocks())
def test_python_runs(page: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")  # for what imports onnxruntime itself
    try:
        exec(compile(code, page, "exec"), {"__name__": "example"})
    except ImportError as error:  # of a package, or a MissingExtraError
        if find_spec("torch"):
            raise
        pytest.skip(f"the environment is light: {error}")


RUN = {"python", "console"}
DATA = {"json", "jsonl", "yaml", "csv", "ini", "nginx", "diff", "text"}  # nothing to run
MADE = {"{eval-rst}", "{toctree}", "{commands}", "{endpoint}"}  # of the site


def test_every_block_runs_or_says_why_not() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\S+)[^\n]*\n.*?^```$", text, re.DOTALL | re.MULTILINE):
            language = match[1]
            if language == "py":
                assert re.search(r"<!-- not run: \S.* -->\n\n$", text[: match.start()]), (page.name, match[0])
                compile(textwrap.dedent(match[0].partition("\n")[2].rpartition("\n")[0]), page.name, "exec")
            else:
                assert language in RUN | DATA | MADE, (page.name, language)


def test_json_is_json() -> None:
    for page, block in every_block("json"):
        if "..." not in block:
            json.loads(block)
        else:
            assert page in {"README.md", "command-line.md", "serving.md"}, block
    for _, block in every_block("jsonl"):
        assert [json.loads(line) for line in block.splitlines()]


def test_every_command_that_is_shown_has_the_options_that_it_is_given() -> None:
    seen = set()
    for page, block in every_block("console"):
        for line in re.findall(r"^\$ qa-onnx (.*)$", re.sub(r" *\\\n *", " ", block), re.MULTILINE):
            name, *arguments = shlex.split(line, comments=True)
            command = main.get_command(click.Context(main), name)
            assert command is not None, (page, line)
            known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
            given = {re.split("[= ]", one)[0] for one in arguments if re.match("--?[a-z]", one)}
            assert given <= known | {"--help"}, (page, line)
            seen.add(name)
    assert len(seen) > 8


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        assert all((page.parent / link).exists() for link in links), page.name


def test_the_recipes_are_those_of_the_examples() -> None:
    page = (ROOT / "docs" / "dataframes.md").read_text(encoding="utf-8")
    sections = [section for section in page.split("\n## ") if "```py\n" in section]
    for section in sections:
        [name] = re.findall(r"\(\.\./(examples/\w+\.py)\):", section)
        recipe = (ROOT / name).read_text(encoding="utf-8")
        assert [code for code in blocks("py", section) if code not in recipe] == [], name
        assert "answer_batches(" in blocks("py", section)[0]
    named = re.findall(r"\| \[\w+\.py\]\(\.\./(examples/\w+\.py)\) \|", page)
    assert len(sections) == len(named) == 6


@pytest.mark.parametrize(("command", "output"), commands())
def test_commands_print_what_is_shown(command: str, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(main, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output

    def without_fractions(text: str) -> str:
        return re.sub(r" *\d+\.\d+", " x", text)  # scores move a little from CPU to CPU

    assert without_fractions(result.stdout) == without_fractions(output)


def test_nothing_is_installed_from_an_index_that_does_not_have_it() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in blocks("console", text) for line in block.splitlines() if "$ pip" in line]
        assert all(re.match(r"\$ pip install \"\.\[[a-z,]+\]\"", line) for line in lines), page.name
    assert "not on PyPI yet" in README


def test_the_examples_are_found() -> None:
    assert len(blocks("python")) >= 2
    assert {page for page, _ in python_blocks()} >= {"README.md", "coming-from-transformers.md"}
    assert len(commands()) >= 2


def test_the_files_and_flags_that_the_security_page_names_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    files = set(re.findall(r"`(\w+/\w+\.py|\w+\.py)`", text))
    assert len(files) > 8
    assert [name for name in files if not (ROOT / "qa_onnx" / name).is_file()] == []
    flags = set(re.findall(r"--[a-z][a-z-]+", text)) - {"--verify", "--key"}
    help_text = CliRunner().invoke(main, ["serve", "--help"]).output
    assert [flag for flag in flags if flag not in help_text] == []


def test_every_make_target_that_the_docs_name_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    docs = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    docs += (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`|\$ )make ([a-z-]+)", docs, re.MULTILINE))
    assert {"demo", "test"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
