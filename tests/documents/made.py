"""Documents that other libraries write, for the tests of this room."""

from __future__ import annotations

import io
import zipfile
from typing import Any

WORDS = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def pdf(*pages: str, **encryption: Any) -> bytes:
    """Write a PDF with a text on each page, by fpdf2."""
    import fpdf

    document = fpdf.FPDF()
    document.set_font("helvetica", size=12)
    for page in pages:
        document.add_page()
        document.multi_cell(0, 6, page)
    if encryption:
        document.set_encryption(**encryption)
    return bytes(document.output())


def plain_pdf(objects: list[str]) -> bytes:
    """Write a PDF of these objects, numbered from 1, the first of which is the catalog."""
    out = b"%PDF-1.4\n"
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return out + f"{end}startxref\n{len(out)}\n%%EOF\n".encode()


def word_archive(body: str, *, before: str = "", compression: int = zipfile.ZIP_DEFLATED, **parts: bytes) -> bytes:
    """Write a DOCX with this XML in its body."""
    xml = f'<?xml version="1.0"?>{before}<w:document xmlns:w="{WORDS}"><w:body>{body}</w:body></w:document>'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("word/document.xml", xml)
        for name, data in parts.items():
            archive.writestr(f"word/{name}.xml", data)
    return out.getvalue()


def paragraph(text: str, properties: str = "") -> str:
    """Return the XML of a paragraph."""
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"
