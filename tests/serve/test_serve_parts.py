"""The small parts of the server that need no web framework: offsets and API keys."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.errors import InputError
from qa_onnx.serve.keys import read_keys

if TYPE_CHECKING:
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


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no API key"),
        (b"# nothing\n", "has no API key"),
        (b"short\n", "line 1 .* has 5 bytes"),
        (b"alpha-alpha-alpha-1\nwith a blank in it\n", "line 2"),
        (b"\xff" * 20, "line 1 .* 16 to 512 ASCII characters"),
        (b"a" * 513, "has 513 bytes"),
    ],
)
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_keys(path)


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
