"""A small SVG writer: text, boxes, bars and lines with the colours of a light or a dark screen."""

from __future__ import annotations

from html import escape

_STYLE = """
.card { fill: #ffffff; stroke: #d0d7de } text { fill: #1f2328; font: 14px system-ui, sans-serif }
.small { font-size: 12px } .faint { fill: #57606a } .line { stroke: #8c959f; fill: none }
.box { fill: #f0f3f6; stroke: #8c959f }
.start { fill: #1d6fd1 } .end { fill: #b8560f } .best { fill: #1a7f37 }
.edge { fill: none; stroke: #1a7f37; stroke-width: 2.5 }
text.start { fill: #1d6fd1 } text.end { fill: #b8560f } text.best { fill: #1a7f37; font-weight: 600 }
@media (prefers-color-scheme: dark) {
.card { fill: #1c2128; stroke: #444c56 } text { fill: #e6edf3 } .faint { fill: #adbac7 } .line { stroke: #768390 }
.box { fill: #2d333b; stroke: #768390 } .start { fill: #6cb0ff } .end { fill: #f0a35e } .best { fill: #57ab5a }
.edge { stroke: #6bc46d } text.start { fill: #6cb0ff } text.end { fill: #f0a35e } text.best { fill: #6bc46d }
}"""


class Picture:
    """An SVG of a fixed width, on a card of its own, so that it reads on any background.

    Args:
        title: what it shows, for those who do not see it.
        height: in pixels.
        width: in pixels; narrow enough for a phone.
    """

    def __init__(self, title: str, *, height: float, width: float = 420) -> None:
        self.title = title
        self.width = width
        self.height = height
        self._parts: list[str] = []

    def text(
        self, x: float, y: float, words: str, kind: str = "", *, anchor: str = "start", turn: int = 0
    ) -> None:
        """Write words; `anchor` is start, middle or end, `turn` in degrees."""
        turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
        self._parts.append(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{escape(words)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, kind: str, *, opacity: float = 1.0) -> None:
        """Draw a rectangle."""
        seen = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
        self._parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{seen}/>'
        )

    def line(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """Draw a line."""
        self._parts.append(f'<path class="line" d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}"/>')

    def arrow(self, x: float, y: float, length: float) -> None:
        """Draw an arrow that points down."""
        tip = y + length
        self._parts.append(
            f'<path class="line" d="M{x:.1f} {y:.1f}V{tip:.1f}M{x - 4:.1f} {tip - 5:.1f}L{x:.1f} {tip:.1f}'
            f'L{x + 4:.1f} {tip - 5:.1f}"/>'
        )

    def svg(self) -> str:
        """Return the file."""
        width, height = round(self.width), round(self.height)
        size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        card = f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>'
        title = f"<title>{escape(self.title)}</title>"
        head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>{title}<style>{_STYLE}</style>'
        return "\n".join([head, card, *self._parts, "</svg>"]) + "\n"
