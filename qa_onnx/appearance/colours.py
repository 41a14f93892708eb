"""The colours and the font of the server's page, in light and in dark."""

from __future__ import annotations

LIGHT = {
    "ground": "#f3f1ec",
    "paper": "#fffefb",
    "ink": "#1c1d21",
    "soft": "#5b5e66",
    "line": "#dcd8ce",
    "accent": "#0f5f66",
}
DARK = {
    "ground": "#14161a",
    "paper": "#1b1e23",
    "ink": "#e9e7e2",
    "soft": "#a6a9b1",
    "line": "#31353d",
    "accent": "#6fd0c5",
}
FONT = '-apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", Arial, sans-serif'

# Of lines and points, light and dark, after Okabe and Ito: each has a contrast of 3 with its paper at least.
SERIES = {
    LIGHT["ink"]: DARK["ink"],
    "#0072b2": "#56b4e9",
    "#d55e00": "#f0a43a",
    "#00805c": "#3fc79a",
    "#b0528a": "#e09ac4",
    "#7a5cc0": "#b9a2f2",
    "#8a6400": "#f2dd7a",
}
FILLS = {LIGHT["soft"]: DARK["soft"], LIGHT["line"]: DARK["line"], LIGHT["paper"]: DARK["paper"]}  # of bars
