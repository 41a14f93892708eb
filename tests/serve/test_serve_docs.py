"""docs/serving.md, README and the containers agree with the server."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from qa_onnx.bundle.folder import default_bundle
from qa_onnx.cli.options import reader_options
from qa_onnx.cli.serve import serve as command
from tests.served import ROOT, serve

pytestmark = pytest.mark.slow

DOCS = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPTIONS = {name: option for option in command.params for name in option.opts if isinstance(option, click.Option)}
EVERY = click.command(reader_options(lambda **_: None))
OF_EVERY_COMMAND = {name for option in EVERY.params for name in option.opts}


def test_every_flag_is_in_the_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(--[a-z-]+)` \| ([^|]+) \|", DOCS, re.MULTILINE))
    assert set(rows) == set(OPTIONS) - OF_EVERY_COMMAND
    unset = {
        "--max-batch-tokens": "1024, on a GPU 16384",
        "--max-total-bytes": "16 x `--max-request-bytes`",
        "--api-key-file": "none",
        "--root-path": "none",
        "--allowed-host": "[see below](#hosts)",
    }
    for flag, default in rows.items():
        real = OPTIONS[flag].default
        shown = f"{real:g}" if isinstance(real, float) else str(real)
        assert default == unset.get(flag, shown), flag


@pytest.mark.parametrize("flag", sorted(OF_EVERY_COMMAND - {"--bundle"}))
def test_flags_of_every_command_are_named(flag: str) -> None:
    assert f"`{flag}`" in DOCS


def commands(text: str) -> list[list[str]]:
    """Arguments of `qa-onnx serve` wherever a text calls it."""
    found = re.findall(r"^(?:\$ |ExecStart=\S*/)qa-onnx serve(.*)$", text, re.MULTILINE)
    found += [" ".join(json.loads(line)[2:]) for line in re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)]
    found += [" ".join(json.loads(line)) for line in re.findall(r'^CMD (\["-b.*\])$', text, re.MULTILINE)]
    return [shlex.split(line) for line in found]


@pytest.mark.parametrize(
    "path", ["docs/serving.md", "README.md", "docker/cpu.Dockerfile", "docker/cuda.Dockerfile"]
)
def test_commands_that_are_shown_are_well_formed(path: str) -> None:
    shown = commands((ROOT / path).read_text(encoding="utf-8"))
    assert shown
    for arguments in shown:
        command.make_context("serve", list(arguments))  # raises where a flag or a value is wrong


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_containers_are_not_root_and_check_their_health(name: str) -> None:
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001"]
    (check,) = re.findall(r"^    CMD (\[.*\])$", text, re.MULTILINE)
    program, flag, code = json.loads(check)
    assert (Path(program).name, flag) == ("python", "-c")
    copied = " ".join(re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)).split()
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    for source in (item for item in copied if (ROOT / item).exists() and item != "./"):
        assert f"!{source}" in kept
    with serve() as served:
        code = code.replace("127.0.0.1:8000", f"127.0.0.1:{served.port}")
        exec(code, {})  # what the container would run; it raises where the server is not ready
        with pytest.raises(OSError, match="refused"):
            exec(code.replace(f":{served.port}", ":1"), {})


def test_the_answers_that_are_shown_are_given() -> None:
    found = re.findall(
        r"-H 'Content-Type: application/json'.*?-d '(\{.*?\})'\n(\{.*?)\n```", README + DOCS, re.DOTALL
    )
    assert len(found) == 4
    with serve("--precision", "int8", bundle=default_bundle()) as served:
        for body, shown in found:
            answer = served.answer(json.loads(body), Accept="application/jsonl" if "examples" in body else "*/*")
            for line, text in zip(shown.splitlines(), answer.text.splitlines(), strict=False):
                beginning = re.match(r'.*?"answer":\{"text":"[^"]*"(,"start":\d+,"end":\d+)?|.*', line)
                assert beginning is not None
                assert text.startswith(beginning[0].rstrip(" .")), text


def test_the_answer_of_the_inference_protocol_that_is_shown_is_given() -> None:
    ((path, body, shown),) = re.findall(
        r"curl -s http://127\.0\.0\.1:8000(/v2\S+) .*?-d '\n(.*?)'\n(\{.*?)\n```", DOCS, re.DOTALL
    )
    with serve("--precision", "int8", bundle=default_bundle()) as served:
        answer = served.client.post(path, json=json.loads(body))
        assert answer.json() == json.loads(shown)


def test_metrics_that_are_named_are_there() -> None:
    named = set(re.findall(r"`(qa_onnx_\w+)", DOCS))
    assert len(named) >= 8
    with serve() as served:
        served.answer({"question": "Where?", "context": "Here."})
        served.answer({})
        page = served.client.get("/metrics").text
    assert named <= {
        re.sub(r"_(bucket|sum|count|created)$", "", name)
        for name in re.findall(r"^(qa_onnx_\w+)", page, re.MULTILINE)
    }
