"""Colours and plots: legible in light and dark, those of the server's page, and no legend over a line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

import qa_onnx
from qa_onnx.appearance.colours import DARK, FILLS, LIGHT, SERIES
from qa_onnx.appearance.plots import interval_plot, legend_below, new_axes, svg
from qa_onnx.bench.plots import plots
from qa_onnx.train.report import plot as training_plot
from qa_onnx.train.state import State
from tests.bench.test_results import RUN

EVALUATIONS = [
    {"steps": step, "f1": 60.0 + step, "em": 50.0 + step, "n": 20, "best": step == 2} for step in (1, 2)
]
TRAINING = State({}, losses=[2.0, 1.5], evaluations=EVALUATIONS)


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_text_and_lines_stand_out_from_the_paper() -> None:
    for colours in (LIGHT, DARK):
        for paper in (colours["paper"], colours["ground"]):
            assert min(contrast(colours[text], paper) for text in ("ink", "soft", "accent")) >= 4.5
    for light, dark in SERIES.items():
        assert contrast(light, LIGHT["paper"]) >= 3, light
        assert contrast(dark, DARK["paper"]) >= 3, dark


def test_the_colours_are_those_of_the_server_s_page() -> None:
    folder = Path(qa_onnx.__file__).parent / "serve"
    files = [path for path in folder.rglob("*") if path.suffix in {".html", ".css"}]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    light, dark = re.split(r"prefers-color-scheme: dark", text[text.index("--ground:") :], maxsplit=1)
    for name in LIGHT:
        assert re.search(rf"--{name}: (#\w+);", light)[1] == LIGHT[name], name  # type: ignore[index]
        assert re.search(rf"--{name}: (#\w+);", dark)[1] == DARK[name], name  # type: ignore[index]


@pytest.mark.parametrize("name", [*plots(RUN), "training"])
def test_every_colour_of_a_plot_has_one_for_dark_screens(name: str) -> None:
    drawing = training_plot(TRAINING) if name == "training" else plots(RUN)[name][0]
    style, _, rest = drawing.partition("</style>")
    used = set(re.findall(r"#[0-9a-f]{6}\b", rest))
    assert LIGHT["ink"] in used
    assert used <= {*SERIES, *FILLS}
    for colour in used:
        assert f'[style*="stroke: {colour}"]' in style
        assert f'[style*="fill: {colour}"]' in style
    assert "@media screen and (prefers-color-scheme:dark)" in style  # paper stays light


def test_a_legend_is_below_the_axes_and_their_labels() -> None:
    axes = new_axes(height=3)
    for number in range(9):
        axes.plot((0, 1), (number, 9), label=f"contender {number}")
    axes.set_xlabel("a label")
    legend = legend_below(axes)
    svg(axes)
    assert legend.get_window_extent().y1 <= axes.get_tightbbox().y0
    assert axes.get_window_extent().height > 100  # and it has not taken their room


def test_a_row_has_its_name_and_its_figures() -> None:
    drawing = svg(interval_plot([("a <b>", 2.0, (1.5, 2.5), {"color": "#0072b2"})]))
    assert "a &lt;b&gt;: 2.00 (1.50 to 2.50)" in drawing
