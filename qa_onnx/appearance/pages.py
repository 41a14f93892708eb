"""The frame of an HTML page that loads nothing: title, style and body."""

from __future__ import annotations

import html

from qa_onnx.appearance.colours import DARK, FONT, LIGHT


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


_STYLE = f"""
:root {{ {_variables(LIGHT)} color-scheme: light dark; }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.55 {FONT}; }}
main {{ max-width: 80rem; margin: 0 auto; padding: 1.5rem clamp(1rem, 3vw, 2.5rem) 3rem; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; }} h2 {{ font-size: 1.125rem; margin: 2rem 0 0.5rem; }}
p, ul {{ max-width: 48rem; overflow-wrap: anywhere; }} ul {{ padding-inline-start: 1.25rem; }}
main > h1 + p, main > h2 + p {{ font-size: 1.0625rem; }}
:focus-visible {{ outline: 2px solid var(--accent); outline-offset: 2px; }}
a {{ color: var(--accent); text-underline-offset: 0.2em; }}
table {{ display: block; max-width: 100%; width: max-content; margin: 1rem 0; border-collapse: collapse;
        overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--paper); }}
th, td {{ padding: 0.375rem 0.75rem; border-bottom: 1px solid var(--line); text-align: start; vertical-align: top;
         font-variant-numeric: tabular-nums; }}
th {{ color: var(--soft); font-size: 0.8125rem; }} tbody tr:last-child td {{ border-bottom: 0; }}
th, td:first-child, td[style*="right"] {{ white-space: nowrap; }}
@media screen and (max-width: 40rem) {{ td:first-child {{ white-space: normal; }}
  td:last-child:not([style*="right"]) {{ min-width: 14rem; }} }}
figure {{ display: inline-block; vertical-align: top; width: min(100%, 30rem); margin: 1rem 1rem 1rem 0;
         padding: 0.625rem; border: 1px solid var(--line); border-radius: 8px; background: var(--paper); }}
figure svg {{ display: block; width: 100%; height: auto; }}
figcaption {{ margin-top: 0.5rem; color: var(--soft); font-size: 0.875rem; }}
code, pre {{ font: 0.875em/1.5 ui-monospace, "Liberation Mono", Menlo, Consolas, monospace; }}
code {{ overflow-wrap: anywhere; }}
pre {{ padding: 0.75rem; white-space: pre-wrap; overflow-wrap: anywhere;
      border: 1px solid var(--line); border-radius: 8px; background: var(--paper); }}
@media print {{
  body, table, figure, pre {{ background: none; }} main {{ max-width: none; padding: 0; }}
  figure {{ width: 48%; break-inside: avoid; }} tr {{ break-inside: avoid; }} h2 {{ break-after: avoid; }}
  table {{ display: table; width: auto; border: 0; font-size: 0.6875rem; }}
  th {{ font-size: inherit; white-space: normal; }}
  th, td {{ padding: 0.125rem 0.375rem; }}
}}
"""


def page(title: str, body: str) -> str:
    """Return a whole HTML page, whose tables a keyboard can scroll where they are wider than the window.

    Args:
        title: as plain text.
        body: as HTML.
    """
    body = body.replace("<table>", '<table tabindex="0">')
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style></head>\n'
        f"<body><main>\n{body}</main></body></html>\n"
    )
