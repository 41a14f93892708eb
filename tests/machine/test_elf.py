"""ELF: the libraries that a shared library needs, read from the file."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qa_onnx.machine.elf import needed_by

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ELF is the format of Linux")


def shared_libraries() -> list[Path]:
    return sorted(Path(np.__file__).parent.rglob("*.so"))[:12]


def test_it_reads_what_readelf_reads() -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("needs readelf of binutils")
    assert shared_libraries()
    for library in [*shared_libraries(), Path(sys.executable).resolve()]:
        said = subprocess.run([readelf, "-d", library], capture_output=True, text=True, check=True).stdout
        assert needed_by(library) == re.findall(r"\(NEEDED\).*\[(.*)\]", said)


def test_an_extension_module_needs_the_c_library() -> None:
    assert "libc.so.6" in needed_by(shared_libraries()[0])


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"MZ" + bytes(100), b"\x7fELF\x01\x01" + bytes(200)])
def test_what_is_no_such_file_needs_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "library.so"
    path.write_bytes(content)
    assert needed_by(path) == []
    assert needed_by(tmp_path / "missing.so") == []


@pytest.mark.parametrize("length", [64, 100, 500, 4000])
def test_half_a_file_is_no_error(tmp_path: Path, length: int) -> None:
    path = tmp_path / "library.so"
    path.write_bytes(shared_libraries()[0].read_bytes()[:length])
    assert isinstance(needed_by(path), list)
