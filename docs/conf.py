"""How Sphinx builds these pages: `make docs`. Our own parts are in site/."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "site"))

from pygments.lexers.data import JsonLexer
from pygments.lexers.special import TextLexer
from sphinx.domains.python import PyObject

import qa_onnx

project = "qa-onnx"
author = "The qa-onnx maintainers"
version = release = qa_onnx.__version__
copyright = author  # noqa: A001

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "outside_links",
    "http_reference",
    "cli_reference",
]
exclude_patterns = ["site"]
root_doc = "index"

html_theme = "furo"
html_title = f"qa-onnx {version}"
html_copy_source = html_show_sourcelink = False
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "a11y-light"  # of accessible-pygments, which Furo brings: all contrasts are 4.5 at least
pygments_dark_style = "github-dark"

myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 4  # links to headings are checked
suppress_warnings = [
    "misc.highlighting_failure",  # commands with their output, parts of which are left out as "..."
]

default_role = "py:obj"  # docstrings: `name` is a link where there is such a name, and code elsewhere
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # a list, not an entry for each attribute
smartquotes_action = "D"  # quotes stay as they are


def returns_are_prose(*arguments):
    """Begin what is returned with a colon: else Napoleon takes the words up to the first one for a type."""
    lines = arguments[-1]
    for number, line in enumerate(lines[:-1]):
        if line.strip() in {"Returns:", "Yields:"}:
            indent = len(lines[number + 1]) - len(lines[number + 1].lstrip())
            lines[number + 1] = f"{' ' * indent}: {lines[number + 1].strip()}"


def readable_signature(*arguments):
    """Leave out the arguments of a protocol, of which nobody makes one, and write made defaults as Python."""
    obj, signature, returned = arguments[3], *arguments[-2:]
    if getattr(obj, "_is_protocol", False):
        return "", None
    return (signature.replace("<factory>", "..."), returned) if signature else None


def scrolled_by_keyboard(app, page, template, context, doctree):
    """Let a keyboard reach code and tables, which scroll where they are wider than the page."""
    body = context.get("body", "").replace("<pre>", '<pre tabindex="0">')
    context["body"] = body.replace('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper')


def setup(app):
    """Register what Sphinx and its extensions lack."""
    app.add_lexer("jsonl", JsonLexer)
    app.add_lexer("csv", TextLexer)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # Sphinx says "Variables"
    app.connect("html-page-context", scrolled_by_keyboard)
    app.connect("autodoc-process-signature", readable_signature)
    app.connect("autodoc-process-docstring", returns_are_prose, priority=400)  # before Napoleon
