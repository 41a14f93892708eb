"""The figures on the README's first screen are those of the stored results."""

from __future__ import annotations

import re
from pathlib import Path

from rivals import RESULTS

from qa_onnx.bench.results import from_json

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ROWS = {
    "transformers 4 pipeline, fp32": "transformers 4 pipeline, fp32",
    "the same on OpenVINO (optimum-intel), int8": "transformers 4 pipeline on OpenVINO (optimum-intel), int8",
    "qa-onnx, int8: the default": "qa-onnx int8, onnxruntime",
    "qa-onnx, int8-static-bf16 in OpenVINO": "qa-onnx int8-static-bf16, openvino",
}


def test_the_first_table_shows_what_is_stored() -> None:
    runs = from_json((RESULTS / "vnni-bf16" / "results.json").read_text(encoding="utf-8"))
    stored = {outcome.name: outcome for outcome in runs[0].ran}
    assert f"{runs[0].data['asked']} questions of SQuAD" in README
    shown = {
        cells[0]: cells[1:] for row in re.findall(r"^\| (.+) \|$", README, re.MULTILINE)
        if len(cells := row.split(" | ")) == 5 and cells[0] in ROWS
    }  # fmt: skip
    assert shown.keys() == ROWS.keys()
    for row, name in ROWS.items():
        one = stored[name]
        figures = (f"{one.f1:.1f}", f"{one.rate:.0f}", f"{one.cold_start:.1f} s", f"{one.install_mb:,.0f} MB")
        assert shown[row] == list(figures)
