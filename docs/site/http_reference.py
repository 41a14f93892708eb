"""The server's OpenAPI document -> tables of the fields that an endpoint takes and returns.

`{endpoint} POST /v1/answer` in a page becomes what the endpoint does, and a table for each object of its request
and its response.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from docutils import nodes
    from sphinx.application import Sphinx

_SHARED_FIELDS = 5  # that many fields of an earlier table are named, and not shown again


@cache
def openapi() -> dict[str, Any]:
    """Return the OpenAPI document of a server with the default bundle; no graph is loaded for it."""
    from qa_onnx.serve.app import service_app
    from qa_onnx.serve.metrics import Metrics
    from qa_onnx.serve.service import Service
    from qa_onnx.serve.settings import Model, Settings

    model = Model.resolve(precision="int8", threads=1)
    app: Any = service_app(Service(Settings(), model, Metrics()))
    document: dict[str, Any] = app._app.openapi()  # inside of the middleware
    return document


def endpoints() -> list[str]:
    """Return all endpoints, as "POST /v1/answer"."""
    return [f"{method.upper()} {path}" for path, item in openapi()["paths"].items() for method in item]


def described(endpoint: str) -> str:
    """Return what an endpoint does, takes and returns, in Markdown."""
    method, path = endpoint.split()
    operation = openapi()["paths"][path][method.lower()]
    parts = [operation["description"]]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    seen: dict[str, dict[str, Any]] = {}
    for title, schema in (("takes", body), ("returns", _returned(operation))):
        parts += (
            [f"**It {title}** {words}" for words in _tables(schema, seen, of_request=title == "takes")]
            if schema
            else []
        )
    return "\n\n".join(parts)


def _returned(operation: dict[str, Any]) -> dict[str, Any] | None:
    schema = operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema")
    return schema or None


def _tables(schema: dict[str, Any], seen: dict[str, dict[str, Any]], *, of_request: bool) -> Iterator[str]:
    """Yield a table for each object of a schema, outer ones first, and note those that were shown."""
    for name in _names(schema):
        if name in seen:
            continue
        content = openapi()["components"]["schemas"][name]
        fields = content["properties"]
        like, shared = _like(fields, seen)
        seen[name] = fields
        required = content.get("required", ()) if of_request else ()
        rows = [
            f"| `{field}` | {_kind(value)}{_default(field, value, required)}. {_says(value)} |"
            for field, value in fields.items()
            if field not in shared
        ]
        words = content.get("description", "").rstrip(".")
        table = "\n".join(["| field | |", "|---|---|", *rows])
        more = f"\n\nAnd as in `{like}`: {', '.join(f'`{field}`' for field in shared)}." if shared else ""
        yield f"`{name}`: {words[:1].lower()}{words[1:]}.\n\n{table}{more}"
        for value in fields.values():
            yield from _tables(value, seen, of_request=of_request)


def _like(fields: dict[str, Any], seen: dict[str, dict[str, Any]]) -> tuple[str, list[str]]:
    """Return the object that was shown with the most of these fields, and these; none where they are few."""
    best: tuple[str, list[str]] = ("", [])
    for name, others in seen.items():
        shared = [field for field, value in fields.items() if others.get(field) == value]
        if len(shared) >= max(_SHARED_FIELDS, len(best[1]) + 1):
            best = (name, shared)
    return best


def _names(schema: Any) -> list[str]:
    """Return the objects that a schema names, without those inside of them."""
    if isinstance(schema, dict):
        own = [schema["$ref"].rpartition("/")[2]] if "$ref" in schema else []
        return own + [name for key, value in schema.items() if key != "discriminator" for name in _names(value)]
    return [name for item in schema for name in _names(item)] if isinstance(schema, list) else []


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_kind(one) for one in schema[key])
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{json.dumps(one)}`" for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"array of {_kind(schema['items'])}" if "items" in schema else "array"
    return str(schema.get("type", "any"))


def _default(field: str, schema: dict[str, Any], required: Collection[str]) -> str:
    if "default" in schema:
        return f", by default `{json.dumps(schema['default'])}`"
    return ", required" if field in required else ""


def _says(schema: dict[str, Any]) -> str:
    """Return the description of a field, with its limits."""
    words = [schema.get("description", "")]
    for low, high, unit in (("minimum", "maximum", ""), ("minItems", "maxItems", " items")):
        if high in schema:
            words.append(f"{schema.get(low, 0):,g} to {schema[high]:,g}{unit}.")
    if "maxLength" in schema:
        words.append(f"At most {schema['maxLength']:,} characters.")
    return " ".join(filter(None, words)).replace("|", r"\|")


class Endpoint(SphinxDirective):
    """`{endpoint} METHOD PATH`."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the description."""
        return self.parse_text_to_nodes(described(" ".join(self.arguments)))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("endpoint", Endpoint)
    return {"parallel_read_safe": True}
