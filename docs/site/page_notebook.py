"""A page whose code runs from top to bottom -> a Jupyter notebook with the same text, code and output.

`python docs/site/page_notebook.py` writes it beside the page, which is the one source: its ```python blocks are
the cells, and a ```text block right after one is its output. The test suite runs them and compares the output.
"""

from __future__ import annotations

import base64
import re

import nbformat
from nbformat import v4
from outside_links import DOCS

PAGES = ("how-it-works",)
_CELL = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
_PICTURE = re.compile(r"!\[[^\]]*\]\((pictures/([\w-]+\.svg))\)")
_MARKS = re.compile(r"^(?:<!-- .* -->|\([\w-]+\)=)\n+", re.MULTILINE)


def notebook(text: str) -> nbformat.NotebookNode:
    """Return the notebook of a page; its pictures are inside, so that the file can be moved."""
    cells, at = [], 0
    for match in _CELL.finditer(text):
        cells += _markdown(text[at : match.start()])
        code = v4.new_code_cell(match[1].rstrip("\n"), execution_count=None)
        if match[2]:
            code.outputs = [v4.new_output("stream", name="stdout", text=match[2])]
        cells.append(code)
        at = match.end()
    cells += _markdown(text[at:])
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the same in each build
    made = v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})
    nbformat.validate(made)
    return made


def _markdown(text: str) -> list[nbformat.NotebookNode]:
    text = _MARKS.sub("", re.sub(r"^:::\{.*?^:::$\n*", "", text, flags=re.DOTALL | re.MULTILINE)).strip()
    if not text:
        return []
    cell = v4.new_markdown_cell(re.sub(_PICTURE, r"![\2](attachment:\2)", text))
    pictures = {name: (DOCS / path).read_text(encoding="utf-8") for path, name in _PICTURE.findall(text)}
    if pictures:
        cell.attachments = {name: {"image/svg+xml": _base64(svg)} for name, svg in pictures.items()}
    return [cell]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


if __name__ == "__main__":
    for page in PAGES:
        made = notebook((DOCS / f"{page}.md").read_text(encoding="utf-8"))
        nbformat.write(made, DOCS / f"{page}.ipynb")
