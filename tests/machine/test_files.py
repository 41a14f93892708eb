"""Files that are written whole or not at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from qa_onnx.machine.files import replacing

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_gets_its_name_when_all_of_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "name.json"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        [draft] = set(tmp_path.iterdir()) - {path}
        assert re.fullmatch(r"\.name\.json\.[0-9a-f]{16}\.partial", draft.name)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "name.json"
    path.write_bytes(b"old")

    def write() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "name" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="name"), replacing(tmp_path / "name"):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "name"]
