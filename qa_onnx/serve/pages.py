"""The two pages for people, each whole in itself: nothing of them comes from elsewhere.

`/` is page.html as it is. `/docs` is the OpenAPI document in readable form, made here once: the usual viewers load
their scripts from a content delivery network.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { font: 600 1.1rem ui-monospace, monospace; margin-top: 2rem; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8886; border-radius: .4rem; }
dt { font-family: ui-monospace, monospace; } dd { margin: 0 0 .4rem 2rem; }
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A page and the headers that it is sent with."""

    body: bytes
    headers: dict[str, str]


def people() -> Page:
    """The page at /."""
    return _page(resources.files("qa_onnx.serve").joinpath("page.html").read_text(encoding="utf-8"))


def docs(document: dict[str, Any]) -> Page:
    """The page at /docs.

    Args:
        document: OpenAPI.
    """
    parts = [f"<h1>{_text(document['info']['title'])} {_text(document['info']['version'])}</h1>"]
    parts.append(f'<p>{_text(document["info"]["description"])} <a href="openapi.json">openapi.json</a></p>')
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(
                f"<h2>{method.upper()} {_text(path)}</h2><p>{_text(operation.get('description', ''))}</p>"
            )
            parts.append(f"<dl>{''.join(_responses(operation))}</dl>")
    parts.append("<h1>Schemas</h1>")
    for name, schema in document["components"]["schemas"].items():
        shown = _text(json.dumps(schema, indent=2, ensure_ascii=False))
        parts.append(f'<h2 id="{_text(name)}">{_text(name)}</h2><pre>{shown}</pre>')
    return _page(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>qa-onnx: endpoints</title>'
        f'<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _responses(operation: dict[str, Any]) -> list[str]:
    found = {"body": operation.get("requestBody"), **operation["responses"]}
    items = []
    for name, response in found.items():
        if response is None:
            continue
        said = []
        for media, content in response.get("content", {}).items():
            names = sorted(set(re.findall(r"#/components/schemas/(\w+)", json.dumps(content))))
            links = ", ".join(f'<a href="#{schema}">{schema}</a>' for schema in names)
            said.append(f"{_text(media)} {links}".strip())
        items.append(f"<dt>{_text(name)}</dt><dd>{_text(response.get('description', ''))} {'; '.join(said)}</dd>")
    return items


def _text(value: object) -> str:
    return html.escape(str(value))


def _page(source: str) -> Page:
    """A page with a policy that lets only its own script and style run, and lets it call only this server."""
    allowed = {
        tag: " ".join(_hash(content) for content in re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL))
        for tag in ("script", "style")
    }
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {allowed['script'] or chr(39) + 'none' + chr(39)}",
            f"style-src {allowed['style']}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
    return Page(source.encode(), headers)


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
