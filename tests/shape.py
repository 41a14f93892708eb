"""The shape of the package in figures: files, lines, the import graph, and what is too long.

    python -m tests.shape [FOLDER]        FOLDER: of the package; default: qa_onnx beside tests

A box is a file of the root or a room; an arrow is one box that imports another. A function's lines of code
are those of its body without docstring, blank lines and comments.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path


def code_lines(node: ast.AST, lines: list[str]) -> int:
    """Lines of code of a function or class: without docstrings, blank lines and comments."""
    inside = set(range(node.lineno, (node.end_lineno or node.lineno) + 1))  # type: ignore[attr-defined]
    for child in ast.walk(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(child):
            text = child.body[0]
            inside -= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        inside -= set(range(node.lineno, node.body[0].lineno))  # the signature
    return sum(1 for number in inside if lines[number - 1].strip() and lines[number - 1].strip()[0] != "#")


def too_long(package: Path, *, function: int = 40, class_: int = 200, file: int = 300) -> list[str]:
    """What is longer than the limits, in lines of code; of a file in lines."""
    found = []
    for path in sorted(package.rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        name = path.relative_to(package)
        if len(lines) > file:
            found.append(f"{name}: {len(lines)} lines")
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and code_lines(node, lines) > function:
                found.append(f"{name}: {node.name} has {code_lines(node, lines)} lines of code")
            if isinstance(node, ast.ClassDef) and code_lines(node, lines) > class_:
                found.append(f"{name}: class {node.name} has {code_lines(node, lines)} lines of code")
    return found


def arrows(package: Path) -> set[tuple[str, str]]:
    """Which box imports which."""
    boxes = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    found = set()
    for path in package.rglob("*.py"):
        box = path.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                parts = name.split(".")
                if parts[0] == package.name:
                    other = parts[1] if len(parts) > 1 and parts[1] in boxes else "__init__"
                    found.add((box, other))
    return {(box, other) for box, other in found if box != other}


def main() -> None:
    package = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "qa_onnx").resolve()
    files = sorted(package.rglob("*.py"))
    total = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    edges = arrows(package)
    print(f"{len(files)} files, {total:,} lines, {len(list(package.glob('*.py')))} files in the root")
    print(f"{len({box for edge in edges for box in edge})} boxes, {len(edges)} arrows between them")
    print(*too_long(package), sep="\n")


if __name__ == "__main__":
    main()
