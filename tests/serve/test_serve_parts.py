"""The small parts of the server that need no web framework: offsets and API keys."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.errors import InputError
from qa_onnx.serve.keys import read_keys
from qa_onnx.serve.settings import Settings
from tests.conftest import edit_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHARACTERS = st.characters(exclude_categories=["Cs"])


@given(st.text(CHARACTERS), st.lists(st.integers(0, 30)))
def test_offsets_are_those_of_the_encoded_text(text: str, wanted: list[int]) -> None:
    convert = pytest.importorskip("qa_onnx.serve.results", reason="needs qa-onnx[serve]").convert
    positions = [min(position, len(text)) for position in wanted]
    for position, found in convert(text, positions, "utf8").items():
        assert text.encode()[:found] == text[:position].encode()
    for position, found in convert(text, positions, "utf16").items():
        assert text.encode("utf-16-le")[: 2 * found] == text[:position].encode("utf-16-le")
    assert convert(text, positions, "character") == {position: position for position in positions}


def test_weights_beside_the_graph_are_among_the_files_in_use(tiny_copy: Path) -> None:
    results = pytest.importorskip("qa_onnx.serve.results", reason="needs qa-onnx[serve]")
    name = f"weights-{0:016x}.data"
    (tiny_copy / name).write_bytes(bytes(9))
    entry = {"name": name, "size": 9, "sha256": "0" * 64}
    edit_manifest(tiny_copy, lambda content: content["graphs"]["fp32"].update(data=entry))
    from qa_onnx.serve.settings import Model

    assert results.bundle(Model.resolve(tiny_copy, precision="fp32"))["hashes"][name] == "0" * 64


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no API key"),
        (b"# nothing\n", "has no API key"),
        (b"short\n", "line 1 .* has 5 bytes"),
        (b"alpha-alpha-alpha-1\nwith a blank in it\n", "line 2"),
        (b"\xff" * 20, "line 1 .* 16 to 512 ASCII characters"),
        (b"a" * 513, "has 513 bytes"),
        (b"#" * (2**20 + 1), "more than 1048576 bytes"),
        (bytes(20), "line 1"),
        ("\ufeffkey-with-a-byte-order-mark".encode(), "line 1"),
        ("key-in-utf-16-which-is-long".encode("utf-16-le"), "line 1"),
    ],
)
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_keys(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda _: None])
def test_keys_are_read_from_a_regular_file_only(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "keys"
    make(path)
    with pytest.raises(InputError, match=r"cannot read the API keys: .*keys"):
        read_keys(path)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_keys_that_others_can_read_are_a_warning(
    tmp_path: Path, mode: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    path.write_text("first-key-0123456789\nsecond-key-0123456789\n")
    path.chmod(mode)
    assert len(read_keys(path)) == 2
    said = [f"{path} has mode {mode:04o}, so others than its owner can read the API keys: chmod 600 it"]
    assert caplog.messages == (said if warned else [])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"allowed_hosts": ("http://example.org",)}, "allowed host 'http://example.org' is not a host name"),
        ({"allowed_hosts": ("example.org:80",)}, "without scheme, port and path"),
        ({"allowed_hosts": ("a.*.example.org",)}, "not a host name"),
        ({"allowed_hosts": ("*.",)}, "not a host name"),
        ({"allowed_hosts": ("",)}, "not a host name"),
        ({"allowed_hosts": ("x" * 5000,)}, "not a host name"),
        ({"max_request_bytes": 5000, "max_total_bytes": 9999}, "at least twice max_request_bytes, which is 5000"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Settings(**changes)
    assert len(str(caught.value)) <= 500


def test_without_the_extra_the_command_says_what_to_install() -> None:
    code = (
        "from importlib import util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *a: None if name in ('fastapi', 'uvicorn') else find(name, *a)\n"
        "from qa_onnx.cli import main\n"
        "main(['serve'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: fastapi, uvicorn not installed: pip install 'qa-onnx[serve]'\n"


def test_help_needs_no_extra() -> None:
    code = (
        "import sys\n"
        "from qa_onnx.cli import main\n"
        "try: main(['serve', '--help'])\n"
        "finally: print(sorted({'fastapi', 'uvicorn', 'pydantic'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert "--max-request-bytes" in done.stdout
