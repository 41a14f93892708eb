"""Files that are no UTF-8 text are named, with the command that makes text of them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx import InputError
from qa_onnx.cli import main
from qa_onnx.data.file_kinds import decode, kind_of
from tests.conftest import TINY

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "Zoë said: the boat is blue, and the sail is white.\n"


def zipped(path: Path, *names: str) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return path.read_bytes()


def content(kind: str, folder: Path) -> bytes:
    """A file of a kind, made by the library that writes such files where the standard library has one."""
    made = folder / "made"
    match kind:
        case "gzip":
            return gzip.compress(TEXT.encode())
        case "bzip2":
            return bz2.compress(TEXT.encode())
        case "xz":
            return lzma.compress(TEXT.encode())
        case "DOCX":
            return zipped(made, "[Content_Types].xml", "word/document.xml")
        case "XLSX":
            return zipped(made, "[Content_Types].xml", "xl/workbook.xml")
        case "ZIP":
            return zipped(made, "article.txt")
        case "PDF":
            return b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"
        case "Parquet":
            return b"PAR1\x15\x04\x15\x10"
        case encoding:
            return TEXT.encode(encoding)


@pytest.mark.parametrize(
    ("kind", "name", "remedy"),
    [
        ("PDF", "a PDF", "pdftotext"),
        ("gzip", "gzip data", "gunzip"),
        ("bzip2", "bzip2 data", "bunzip2"),
        ("xz", "xz data", "unxz"),
        ("DOCX", "a Word document", "libreoffice"),
        ("XLSX", "an Excel file", "libreoffice"),
        ("ZIP", "a ZIP archive", "unzip"),
        ("Parquet", "a Parquet table", "read_parquet"),
        ("utf-16", "UTF-16 text", "iconv -f UTF-16 -t UTF-8"),
        ("utf-16-le", "UTF-16LE text", "iconv -f UTF-16LE -t UTF-8"),
        ("utf-16-be", "UTF-16BE text", "iconv -f UTF-16BE -t UTF-8"),
        ("utf-32", "UTF-32 text", "iconv -f UTF-32 -t UTF-8"),
        ("utf-32-le", "UTF-32LE text", "iconv -f UTF-32LE -t UTF-8"),
    ],
)
def test_a_kind_is_named_with_its_remedy(kind: str, name: str, remedy: str, tmp_path: Path) -> None:
    path = tmp_path / "some file"
    path.write_bytes(content(kind, tmp_path))
    line = ["ask", "-b", str(TINY), "-q", "What?"]
    output = tmp_path / "answers.jsonl"
    as_data: list[tuple[list[str], bytes | None]] = [
        (["ask", "-b", str(TINY), "--input", str(path), "--output", str(output)], None),
        (["eval", "-b", str(TINY), str(path)], None),
    ]
    as_text = [([*line, "-c", str(path)], None), ([*line, "-c", "-"], path.read_bytes())]
    for arguments, stdin in (
        *(as_text if kind not in ("PDF", "DOCX") else []),  # which are read as documents
        *(as_data if kind not in ("gzip", "Parquet") else []),  # which are read as data
    ):
        result = CliRunner().invoke(main, arguments, input=stdin)
        assert result.exit_code == 1
        assert f"is {name}" in result.stderr
        assert remedy in result.stderr
        if stdin is None:
            assert f"'{path}'" in result.stderr or kind == "Parquet"  # quoted for the shell, as it has a blank
        assert result.stderr.count("\n") == 1
    assert not list(tmp_path.glob("answers*"))


@pytest.mark.parametrize("kind", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "gzip", "bzip2", "xz"])
def test_the_remedy_works(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "some file"
    path.write_bytes(content(kind, tmp_path))
    with pytest.raises(InputError, match=" it first: ") as refused:
        decode(path.read_bytes(), str(path))
    remedy = str(refused.value).partition(" it first: ")[2]
    if shutil.which(remedy.split()[0]) is None:
        pytest.skip(f"needs {remedy.split()[0]}")
    subprocess.run(["/bin/sh", "-c", remedy], cwd=tmp_path, check=True)
    assert decode((tmp_path / "text.txt").read_bytes(), "text.txt").removeprefix("\ufeff") == TEXT


@given(st.text())
def test_no_text_in_utf_8_is_taken_for_another_kind(text: str) -> None:
    controls = sum(char < " " for char in text)
    if controls > 0.2 * len(text) or text.startswith(
        ("%PDF-", "BZh", "PAR1", "PK\x03\x04", "PK\x05\x06", "{\\rtf")
    ):
        return
    assert decode(text.encode(), "text") == text.removeprefix("\ufeff")


@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
@pytest.mark.parametrize(
    "text",
    [
        "The tower was designed by Agnes Halloran.",
        "Kdo postavil věž? Zdeněk Hořák, v roce 1740.",
        "Башню построила Агнес Хэллоран в 1887 году.",
        "Ο πύργος χτίστηκε το 1887 από την Άγκνες.",
        "המגדל תוכנן על ידי אגנס הלורן בשנת 1887.",
        "Blue.",
    ],
)
def test_wide_encodings_are_known_without_a_mark_in_every_alphabet(text: str, encoding: str) -> None:
    kind = kind_of(text.encode(encoding))
    assert kind is not None
    assert kind.name == f"{encoding} text"
    assert kind_of(text.encode()) is None


@pytest.mark.parametrize(
    "data", [b"", b"a", b"ab\0cd\0ef\0gh\0", b"Ida\0\0\0\0\0Bo\0\0\0\0\0\0", bytes(range(256)), b"\0" * 64]
)
def test_other_bytes_with_nuls_are_not_taken_for_wide_text(data: bytes) -> None:
    assert kind_of(data) is None


def test_what_is_no_utf_8_and_no_known_kind_is_refused_with_the_place() -> None:
    with pytest.raises(InputError, match=r"a b is not UTF-8 text \(byte 4 is 0xff\).*-t UTF-8 'a b'"):
        decode(b"text\xff more", "a b")
    assert kind_of(b"text\xff more") is None


@pytest.mark.parametrize(("zeros", "words"), [(1, "1 NUL character, which"), (3, "3 NUL characters, which")])
def test_a_text_with_nuls_is_warned_of_and_read(zeros: int, words: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"The boat is blue, and the sail is white. " * 9 + b"\0" * zeros)
    result = CliRunner().invoke(main, ["ask", "-b", str(TINY), "-q", "What?", "-c", str(path)])
    assert result.exit_code == 0
    assert f"warning: {path} has {words}" in result.stderr
