"""Bytes of a file -> text, or an error that names the kind of file and the command that converts it to text.

Kinds are recognized by their first bytes (the signatures that file(1) knows), UTF-16 and UTF-32 also without a
byte order mark where the text has blanks and letters of one alphabet.

Left out: guessing between 8-bit encodings, since a wrong guess would go unnoticed.
"""

from __future__ import annotations

import codecs
import shlex
import unicodedata
from collections import Counter
from dataclasses import dataclass

from qa_onnx.errors import InputError

_SAMPLE = 4096  # bytes at the start that show UTF-16 and UTF-32 text without a byte order mark
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\r\f")
_MOST_CONTROLS = 0.2  # share of the bytes of UTF-8 text that may be control characters
_TWO_PAGES = 0.8  # share of a text's characters that lie in two pages of 256
_NO_TEXT = ("Cc", "Cn", "Co", "Cs")  # Unicode's categories
_ZIPPED = {  # a name inside a ZIP archive: the kind of file
    b"word/": "a Word document (DOCX)",
    b"ppt/": "a PowerPoint file (PPTX)",
    b"xl/": "an Excel file (XLSX)",
    b"mimetypeapplication/vnd.oasis": "an OpenDocument file",
    b"mimetypeapplication/epub": "an EPUB book",
}
_MARKS = {  # longest first: UTF-32's begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file that is not UTF-8 text.

    Attributes:
        name: with its article, such as "a PDF".
        remedy: how to convert it to text; "{file}" stands for the file's name.
    """

    name: str
    remedy: str


_PAGES = "take the text out first: libreoffice --headless --convert-to txt:Text {file}"
_SIGNATURES = {
    bytes(1024): FileKind("zero bytes, as in a file of which parts are missing", "fetch or write it again"),
    b"%PDF-": FileKind("a PDF", "take the text out first: pdftotext {file} text.txt"),
    b"\x1f\x8b": FileKind("gzip data", "unpack it first: gunzip -c {file} > text.txt"),
    b"BZh": FileKind("bzip2 data", "unpack it first: bunzip2 -c {file} > text.txt"),
    b"\xfd7zXZ\x00": FileKind("xz data", "unpack it first: unxz -c {file} > text.txt"),
    b"\x28\xb5\x2f\xfd": FileKind("Zstandard data", "unpack it first: zstd -dc {file} > text.txt"),
    b"PAR1": FileKind(
        "a Parquet table",
        "make JSON lines of it first, with pandas: "
        "pandas.read_parquet(...).to_json('rows.jsonl', orient='records', lines=True)",
    ),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": FileKind("an old Office document", _PAGES),
    b"{\\rtf": FileKind("an RTF document", _PAGES),
    b"SQLite format 3\x00": FileKind("an SQLite database", "write its texts to a file first"),
    b"\x89PNG": FileKind("a PNG image", "text in images needs OCR first, such as tesseract {file} text"),
    b"\xff\xd8\xff": FileKind("a JPEG image", "text in images needs OCR first, such as tesseract {file} text"),
    b"7z\xbc\xaf\x27\x1c": FileKind("a 7z archive", "unpack it first: 7z x {file}"),
}


def kind_of(data: bytes) -> FileKind | None:
    """Return the kind of a file that is known not to be UTF-8 text; None for text and for unknown kinds.

    Args:
        data: the whole file, or its beginning.
    """
    for signature, kind in _SIGNATURES.items():
        if data.startswith(signature):
            return kind
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        for inside, name in _ZIPPED.items():
            if inside in data:
                return FileKind(name, _PAGES)
        return FileKind("a ZIP archive", "unpack it first: unzip {file}")
    encoding = _wide_encoding(data)
    if encoding is not None:
        return FileKind(f"{encoding} text", f"convert it first: iconv -f {encoding} -t UTF-8 {{file}} > text.txt")
    return None


def _wide_encoding(data: bytes) -> str | None:
    """Return UTF-16 or UTF-32 as iconv names it; None if the bytes are neither."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return name
    # Without a mark: read byte by byte it is full of control characters, and read as UTF-16 or UTF-32 it is text.
    sample = data[:_SAMPLE]
    if sum(byte in _CONTROLS for byte in sample) <= _MOST_CONTROLS * len(sample):
        return None
    for name in ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE"):
        try:
            text = codecs.getincrementaldecoder(name)().decode(sample)  # whose last character may be cut
        except UnicodeDecodeError:
            continue
        pages = Counter(ord(char) >> 8 for char in text)
        two = sum(count for _, count in pages.most_common(2))  # blanks, and letters of one alphabet
        no_text = any(unicodedata.category(char) in _NO_TEXT and char not in "\t\n\r\f" for char in text)
        if pages[0] and two > _TWO_PAGES * len(text) and not no_text:
            return name
    return None


def decode(data: bytes, name: str) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark.

    Args:
        data: the whole file.
        name: of the file, for the error.

    Raises:
        InputError: it is another kind of file, or in another encoding; the message has the remedy.
    """
    refuse_other_kinds(data, name)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise InputError(
            f"{name} is not UTF-8 text (byte {error.start} is 0x{byte:02x})",
            remedy="if it is text in another encoding, such as LATIN1, UTF-16LE or GB18030, convert it, as in "
            f"iconv -f LATIN1 -t UTF-8 {shlex.quote(name)} > text.txt",
        ) from error


def refuse_other_kinds(data: bytes, name: str, *, file: str | None = None) -> None:
    """Refuse a file that is known not to be UTF-8 text.

    Args:
        data: the whole file, or its beginning.
        name: what the error calls it.
        file: its path, for the command that converts it; None: `name`.

    Raises:
        InputError: it is another kind of file; the message names the kind and the remedy.
    """
    kind = kind_of(data)
    if kind is not None:
        remedy = kind.remedy.format(file=shlex.quote(name if file is None else file))
        raise InputError(f"{name} is {kind.name}, not UTF-8 text", remedy=remedy)
