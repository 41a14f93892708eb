"""The commands of qa-onnx -> a section for each: what it does, how it is called, and its options.

`{commands}` in a page becomes all of them, in the order of `qa-onnx --help`. (sphinx-click takes a command's name
from the function behind it, and reads help texts as reStructuredText, which ours are not.)
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click
from sphinx.util.docutils import SphinxDirective

from qa_onnx.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docutils import nodes
    from sphinx.application import Sphinx


def commands() -> dict[str, click.Command]:
    """Return all commands by their names, in the order of the help."""
    context = click.Context(main)
    found = {name: main.get_command(context, name) for name in main.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def described(name: str, command: click.Command) -> str:
    """Return the section of a command, in Markdown."""
    context = click.Context(command, info_name=name, parent=click.Context(main, info_name="qa-onnx"))
    rows = [record for param in command.get_params(context) if (record := param.get_help_record(context))]
    table = [f"| `{flags}` | {_escaped(words)} |".replace("`|", "`") for flags, words in map(_shown, rows)]
    parts = [f"## {name}", *_paragraphs(command.help or ""), f"```text\n{command.get_usage(context)}\n```"]
    return "\n\n".join([*parts, "\n".join(["| option | |", "|---|---|", *table])])


def _shown(record: tuple[str, str]) -> tuple[str, str]:
    return record[0].replace("|", r"\|"), record[1]


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text; those after a backspace, which click does not wrap, are code."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        kept = paragraph.startswith("\b\n")
        yield f"```text\n{paragraph[2:]}\n```" if kept else _escaped(paragraph)


def _escaped(text: str) -> str:
    """Return plain text as Markdown, flags as code."""
    plain = re.sub(r"[\\*_|<>\[\]#]", r"\\\g<0>", " ".join(text.replace("`", "").split()))
    return re.sub(r"(?<![\w-])--?[a-zA-Z][\w-]*", r"`\g<0>`", plain)


class Commands(SphinxDirective):
    """`{commands}`."""

    def run(self) -> list[nodes.Node]:
        """Return the nodes of all sections."""
        text = "\n\n".join(described(name, command) for name, command in commands().items())
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
