"""Faults of files and streams: one line on stderr, an exit code, nothing lost, and nothing left behind."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import training_data
from tests.conftest import TINY
from tests.exports import checkpoint
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")]

ROW = {"id": "a", "question": "What?", "context": "The boat is blue.", "answers": ["blue"]}
B = ["-b", str(TINY)]
OLD = b"what was there\n"


def run(
    words: list[str],
    *,
    shell: str = "",
    folder: Path,
    prepare: Callable[[], None] | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command.

    Args:
        words: after `qa-onnx`.
        shell: what follows them on the line, such as a redirection.
        folder: where it runs.
        prepare: what the process does before.
        environment: variables that are set.
    """
    line = f'exec "$@" {shell}' if "|" not in shell else f'"$@" {shell}'
    return subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-m", "qa_onnx", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=PATIENCE_S,
        check=False,
        preexec_fn=prepare,
    )


def limit_files(size: int) -> None:
    """Make writing fail where a file would get more bytes than this, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with data, a text, files of all kinds, and an earlier output."""
    (tmp_path / "data.jsonl").write_text(json.dumps(ROW) + "\n")
    (tmp_path / "text.txt").write_text("The boat is blue.")
    (tmp_path / "out").write_bytes(OLD)
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data.jsonl")
    os.link(tmp_path / "data.jsonl", tmp_path / "hard")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(8 << 30)
    (tmp_path / "zeros").write_bytes(bytes(100_000))
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(tmp_path)  # the path of a socket is short
        listener.bind("socket")
        os.chdir(here)
    return tmp_path


def one_line(done: subprocess.CompletedProcess[str], code: int = 1) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.startswith(("Usage:", "Try '"))]
    assert len([line for line in errors if line]) == 1, done.stderr
    assert len(done.stderr) < 800


def untouched(folder: Path) -> None:
    assert (folder / "out").read_bytes() == OLD
    assert json.loads((folder / "data.jsonl").read_text()) == ROW
    assert not list(folder.rglob("*.partial"))


TO_STDOUT = [
    ["ask", *B, "-q", "What?", "-c", "text.txt"],
    ["ask", *B, "-q", "What?", "-c", "text.txt", "--json"],
    ["ask", *B, "-q", "What?", "-c", "text.txt", "--n-best", "2"],
    ["ask", *B, "--input", "data.jsonl"],
    ["eval", "data.jsonl", *B],
    ["diff", str(TINY), str(TINY), "data.jsonl"],
    ["inspect", *B],
    ["inspect", *B, "--json"],
    ["tune", *B, "--forget"],
    ["pack", str(TINY), "--to", "new.qab"],
    ["keygen", "new"],
    ["--help"],
    ["--version"],
]


@pytest.mark.parametrize("words", TO_STDOUT, ids=lambda words: "-".join(words)[:30])
@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
def test_output_that_cannot_be_written(words: list[str], where: str, folder: Path) -> None:
    done = run(words, shell=where, folder=folder, XDG_CACHE_HOME=str(folder / "cache"))
    one_line(done) if "--input" not in words else None
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot write to standard output" in done.stderr
    untouched(folder)


@pytest.mark.parametrize("words", [TO_STDOUT[0], TO_STDOUT[6]], ids=["ask", "inspect"])
@pytest.mark.parametrize(("shell", "code"), [("2>&-", 0), ("<&-", 0), ("2>/dev/full", 0), ("| true", 0)])
def test_other_streams_may_be_closed(words: list[str], shell: str, code: int, folder: Path) -> None:
    done = run(words, shell=shell, folder=folder)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("words", [["-c", "-", "-q", "What?"], ["--input", "-"], ["-i", "-c", "text.txt"]])
def test_closed_stdin_that_is_read(words: list[str], folder: Path) -> None:
    one_line(done := run(["ask", *B, *words], shell="<&-", folder=folder))
    assert "closed" in done.stderr


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/random", "sparse", "zeros", "socket", "a\x1b[31m", "x" * 300])
@pytest.mark.parametrize(
    "words",
    [["ask", *B, "-q", "What?", "-c"], ["ask", *B, "--input"], ["eval", *B], ["diff", str(TINY), str(TINY)]],
)
def test_what_is_no_data_file(words: list[str], name: str, folder: Path) -> None:
    done = run([*words, name], folder=folder)
    one_line(done, done.returncode)
    assert done.returncode in {1, 2}
    assert "\x1b" not in done.stderr
    untouched(folder)


@pytest.mark.parametrize("words", [["ask", *B, "-q", "What?", "-c"], ["ask", *B, "--input"], ["eval", *B]])
def test_a_pipe_on_purpose_is_read(words: list[str], folder: Path) -> None:
    source = "text.txt" if "-c" in words else "data.jsonl"
    done = run(words, shell=f"<(cat {source})", folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout


OUTPUTS = [
    ["ask", *B, "--input", "data.jsonl", "--output"],
    ["eval", "data.jsonl", *B, "--errors"],
]


@pytest.mark.parametrize("words", OUTPUTS, ids=["ask", "eval"])
@pytest.mark.parametrize(
    "target", ["data.jsonl", "link", "hard", "./dir/../data.jsonl", "dir", "no/where", "socket"]
)
def test_an_output_that_is_the_input_or_no_file(words: list[str], target: str, folder: Path) -> None:
    done = run([*words, target], folder=folder)
    one_line(done, done.returncode)
    assert done.returncode in {1, 2}
    untouched(folder)


# ---- commands that write folders


CHECKPOINTS = [
    ["export", "base", "--max-length", "64", "--precision", "fp32", "--to"],
    ["train", "base", "train.json", "--max-length", "96", "--epochs", "0.5", "--to"],
]
commands = pytest.mark.parametrize("words", CHECKPOINTS, ids=["export", "train"])


@pytest.fixture
def bases(folder: Path) -> Path:
    """The folder with a checkpoint to export and to train, its data, and a folder that nobody may write to."""
    pytest.importorskip("torch")
    shutil.copytree(checkpoint("bert"), folder / "base")
    training_data.write(folder / "train.json")
    (folder / "fifo").unlink(missing_ok=True)
    os.mkfifo(folder / "fifo")
    (folder / "locked").mkdir()
    (folder / "locked").chmod(0o555)
    return folder


def without_privileges() -> None:
    """Make permissions hold for this process even if it is root's: it loses what makes root pass them."""
    drop, override, search = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    for capability in (override, search):
        ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)


@pytest.mark.export
@commands
@pytest.mark.parametrize("target", ["fifo", "locked/new", "x" * 300])
def test_a_folder_that_cannot_be_written(words: list[str], target: str, bases: Path) -> None:
    done = run([*words, target], folder=bases, prepare=without_privileges)
    one_line(done, done.returncode)
    assert done.returncode in {1, 2}
    assert target[:20] in done.stderr
    untouched(bases)


@pytest.mark.export
@pytest.mark.parametrize(
    ("words", "hidden"),
    [(CHECKPOINTS[0], "base"), (CHECKPOINTS[1], "base/model.safetensors")],
    ids=["export", "train"],
)
def test_a_checkpoint_that_may_not_be_read(words: list[str], hidden: str, bases: Path) -> None:
    (bases / hidden).chmod(0)
    try:
        done = run([*words, "new"], folder=bases, prepare=without_privileges)
    finally:
        (bases / hidden).chmod(0o755)
    one_line(done)
    assert "Permission denied" in done.stderr
    assert hidden in done.stderr
    assert not (bases / "new").exists()
    untouched(bases)


@pytest.mark.export
@commands
def test_a_checkpoint_on_a_full_disk(words: list[str], bases: Path) -> None:
    done = run([*words, "new"], folder=bases, prepare=partial(limit_files, 64 << 10))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert not (bases / "new").exists()
    done = run([*words, "new", *(["--resume"] if words[0] == "train" else [])], folder=bases)
    assert done.returncode == 0, done.stderr
    assert (bases / "new").is_dir()


@pytest.mark.export
@commands
def test_a_checkpoint_is_written_though_nobody_can_be_told(words: list[str], bases: Path) -> None:
    done = run([*words, "new"], shell=">/dev/full", folder=bases)
    assert done.returncode == 1
    assert "cannot write to standard output" in done.stderr.splitlines()[-1]
    assert list((bases / "new").glob("bundle.json" if words[0] == "export" else "training.json"))


def test_stdout_that_is_the_input(folder: Path) -> None:
    one_line(done := run(TO_STDOUT[3], shell=">>data.jsonl", folder=folder))
    assert "standard output goes to the file that is read" in done.stderr
    untouched(folder)


@pytest.mark.parametrize("words", OUTPUTS, ids=["ask", "eval"])
def test_a_full_disk(words: list[str], folder: Path) -> None:
    record = {**ROW, "context": "The boat is blue. " * 40, "answers": ["red"]}
    (folder / "data.jsonl").write_text("".join(json.dumps({**record, "id": n}) + "\n" for n in range(40)))
    before = (folder / "data.jsonl").read_bytes()
    done = run([*words, "out"], folder=folder, prepare=partial(limit_files, 4096))
    one_line(done)
    assert "File too large" in done.stderr
    assert (folder / "out").read_bytes() == OLD
    assert (folder / "data.jsonl").read_bytes() == before
    kept = list(folder.glob("*.partial"))
    assert len(kept) == (words[0] == "ask")  # its answers so far are kept, and the message names them
    assert all(str(path) in done.stderr for path in kept)
    done = run([*words, "/dev/full"], folder=folder)
    one_line(done)


@pytest.mark.parametrize(
    ("encoding", "code", "out"),
    [("utf-8", 0, "東"), ("ascii", 0, "東"), ("latin-1", 1, ""), ("ascii:strict", 0, "東")],
)
def test_an_answer_in_another_encoding(encoding: str, code: int, out: str, folder: Path) -> None:
    (folder / "text.txt").write_text("東京", encoding="utf-8")
    words = ["ask", *B, "-q", "What?", "-c", "text.txt", "--null-threshold", "off"]
    done = run(words, folder=folder, PYTHONIOENCODING=encoding, PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == code, done.stderr
    assert out in done.stdout
    assert "Traceback" not in done.stderr
    assert code == 0 or "set PYTHONIOENCODING=utf-8, or use --json" in done.stderr


@pytest.mark.parametrize(
    "odd",
    [b"NaN", b"Infinity", b"-1e999", b"[NaN, {}]", b"[" * 900 + b"]" * 900, b"9" * 4000, b'"\\ud800"'],
    ids=["nan", "inf", "1e999", "list", "nested", "digits", "half"],
)
def test_json_is_strict(odd: bytes, folder: Path) -> None:
    line = b'{"id": %s, "question": "What?", "context": "The boat is blue."}\n' % odd
    (folder / "data.jsonl").write_bytes(line + b'{"question": NaN, "context": "x"}\n')
    done = run(["ask", *B, "--input", "data.jsonl"], folder=folder)

    def refuse(name: str) -> Any:
        pytest.fail(f"{name} is not JSON")

    records = [json.loads(line, parse_constant=refuse) for line in done.stdout.splitlines()]
    assert len(records) == 2
    assert 'no "question"' in records[1]["error"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [["--precision", "x" * 100_000], ["--nope" * 20_000], ["\x1b[31m" * 20_000], ["-b", "x" * 100_000]],
    ids=["choice", "option", "escapes", "bundle"],
)
def test_no_message_echoes_much(words: list[str], folder: Path) -> None:
    done = run(["ask", "-q", "What?", "-c", "text.txt", *words], folder=folder)
    one_line(done, done.returncode)
    assert done.returncode in {1, 2}
    assert "\x1b" not in done.stderr
