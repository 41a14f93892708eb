"""What people read of a run: every figure in its place, nothing loaded from elsewhere, plots that tell apart."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from qa_onnx.bench.report import METHOD, SHORT, about, files, remarks, table, verdict
from tests.bench.test_results import BASE, FAST, RUN

pytest.importorskip("matplotlib")


def test_a_row_has_each_figure_under_its_head() -> None:
    full = table(RUN)
    cells = dict(zip(full.head, full.rows[1], strict=True))
    assert re.fullmatch(r"2\.\d\d-\d\.\d\d", cells.pop("95 %"))
    assert cells == {
        "contender": FAST.name, "EM": "70.0", "F1": "80.0", "same answers": "100%", "questions/s": "30.0",
        "x base": "2.86", "p50 ms": "200.0", "p90 ms": "280.0", "p99 ms": "298.0", "server q/s": "8.0",
    }  # fmt: skip  # and no empty columns
    assert set(full.rows[2][1:]) == {"-"}
    assert len({line.count("|") for line in str(full).splitlines()}) == 1  # also with a | in a name


def test_a_short_table_has_the_first_columns_alone() -> None:
    short, full = table(RUN, columns=SHORT), table(RUN)
    assert list(short.head) == [head for head in full.head if head in SHORT]
    assert {"EM", "p99 ms"}.isdisjoint(short.head)
    assert [row[0] for row in short.rows] == [row[0] for row in full.rows]


def test_the_result_is_a_sentence() -> None:
    assert FAST.ratio is not None
    assert verdict(RUN) == (
        f"int8, onnxruntime answers 2.86 times as many questions a second as PyTorch fp32 (95 % interval "
        f"{FAST.ratio.interval}), with F1 80.0 (PyTorch fp32: {BASE.f1:.1f})."
    )
    slower = replace(FAST, ratio=replace(FAST.ratio, median=1.01, low=0.98))
    assert verdict(replace(RUN, outcomes=(BASE, slower))) == (
        "No contender is faster than PyTorch fp32 beyond the noise."
    )
    assert verdict(replace(RUN, outcomes=(BASE,))) == (
        "PyTorch fp32 answers 10.0 questions a second, one by one in 200.0 ms in the median, with F1 80.0."
    )
    assert verdict(replace(RUN, outcomes=RUN.outcomes[2:])) == ""  # none was measured


def test_what_must_be_read_with_the_figures_is_said() -> None:
    said = remarks(replace(RUN, notes=("the weights are random",)))
    assert said == [
        "broken | one did not run: it is not installed",
        "the weights are random",
        "server: the 99th percentile must not pass 250 ms",
        "this machine was not quiet: other programs used 40 % of the cores' time",
    ]
    text = " ".join(about(RUN))
    for part in ("d.json: 3 of 9 questions", "A CPU (avx2), 2 threads on CPUs 0, 1", "numpy 2.0", "2026-11-25"):
        assert part in text


@pytest.fixture(scope="module")
def report() -> dict[str, str]:
    return files([RUN, replace(RUN, title="a <second> run")])


def test_a_report_has_all_its_files(report: dict[str, str]) -> None:
    names = ("speed", "accuracy", "latency", "stages", "batch", "length", "threads")
    plots = {f"plots/{run}-{name}.svg" for run in (1, 2) for name in names}
    assert set(report) == {"results.json", "results.csv", "report.md", "report.html", *plots}
    assert set(re.findall(r"\((plots/[^)]+)\)", report["report.md"])) == plots
    assert METHOD in report["report.md"]
    assert RUN.command in report["report.md"]


def test_the_page_is_one_file_and_loads_nothing(report: dict[str, str]) -> None:
    page = report["report.html"]
    assert page.count("<svg") == page.count("</svg>") == 14
    assert "a &lt;second&gt; run" in page
    page = re.sub(r"<rdf:RDF.*?</rdf:RDF>", "", page, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?!#|data:)([^"]*)"', page) == []
    assert len(page) < 400_000


def test_plots_name_the_contenders_and_tell_them_apart_without_colour(report: dict[str, str]) -> None:
    for name in ("latency", "batch", "length", "threads"):
        root = ET.fromstring(report[f"plots/1-{name}.svg"])
        texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"PyTorch fp32", "int8, onnxruntime"} <= set(texts), name
        styles = [path.get("style", "") for path in root.iter("{http://www.w3.org/2000/svg}path")]
        lines = [style for style in styles if "stroke-width: 1.5" in style]
        assert {"stroke-dasharray" in style for style in lines} == {True, False}, name


def test_as_many_contenders_as_the_rivals_have_a_marker_each() -> None:
    many = replace(RUN, outcomes=tuple(replace(RUN.outcomes[0], name=str(number)) for number in range(17)))
    drawing = ET.fromstring(files([many])["plots/1-accuracy.svg"])
    shapes = {path.get("d") for path in drawing.iterfind(".//{*}g[@id='axes_1']/{*}g/{*}defs/{*}path")}
    assert len(shapes) == 17


def test_a_run_in_which_nothing_ran_has_no_plots() -> None:
    report = files([replace(RUN, outcomes=RUN.outcomes[2:])])
    assert set(report) == {"results.json", "results.csv", "report.md", "report.html"}
    assert "broken | one did not run" in report["report.md"]
