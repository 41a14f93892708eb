"""tune: what may be tried, what wins, and what is kept of it. With real processes on the tiny bundle."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from msgspec import structs

from qa_onnx import Bundle, EngineError, Reader
from qa_onnx.bench import tune as work
from qa_onnx.bench.tune import Row, Setting, TunePlan, _budgets, accuracy_note, default_setting, settings, tune
from qa_onnx.bundle.tuned import Profile, find_profile
from qa_onnx.cli import main
from qa_onnx.data.squad import Gold
from qa_onnx.machine import cpu
from qa_onnx.options import BATCH_TOKENS
from tests.conftest import TINY, edit_manifest
from tests.receipts import receipt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

GOLDS = (
    Gold("1", "Who lit the lamp?", "The keeper lit the lamp at dusk. Ships saw it from afar.", (), ()),
    Gold("2", "Where?", "In the tower by the harbour. " * 6, (), ()),
)
PLAN = TunePlan(golds=GOLDS, data="two texts", min_f1_percent=0, seconds=0.5)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same settings whatever the machine, and a cache folder that is empty."""
    monkeypatch.setattr(cpu, "default_threads", lambda: 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def with_receipt(bundle: Bundle, precision: str, percent: float) -> Bundle:
    graphs = {
        **bundle.manifest.graphs,
        precision: structs.replace(bundle.graph(precision), receipt=receipt(percent, gate=90.0)),
    }
    return replace(bundle, manifest=replace(bundle.manifest, graphs=graphs))


def test_settings_are_all_that_the_bundle_can_run_the_default_first(tiny_bundle: Bundle) -> None:
    found = settings(tiny_bundle)
    default = Setting("int8", "onnxruntime", "cpu", 2, BATCH_TOKENS["cpu"])
    assert found[0] == default == default_setting(tiny_bundle)
    on_cpu = {(s.precision, s.threads) for s in found if (s.engine, s.device) == ("onnxruntime", "cpu")}
    assert on_cpu == {("int8", 2), ("int8", 1), ("fp32", 2), ("fp32", 1)}
    assert len(found) == len(set(found))
    assert {s.engine for s in found if s.precision == "int8"} == {"onnxruntime"}


def test_only_what_answers_well_enough_is_tried(tiny_bundle: Bundle) -> None:
    assert accuracy_note(tiny_bundle, "fp32", 99) == ""
    assert accuracy_note(tiny_bundle, "int8", 99).startswith("it has no receipt")
    assert accuracy_note(tiny_bundle, "int8", 0) == ""
    for percent, least, said in (
        (98.5, 98.0, ""),
        (98.5, 99.0, "its F1 is 98.50 % of fp32's, less than 99 %"),
    ):
        assert accuracy_note(with_receipt(tiny_bundle, "int8", percent), "int8", least) == said


def test_the_fastest_setting_is_found_and_shown(tiny_bundle: Bundle) -> None:
    shown: list[list[Row]] = []

    def show(rows: Sequence[Row]) -> None:
        shown.append([replace(row) for row in rows])

    profile = tune(tiny_bundle, PLAN, show=show)
    rows = shown[-1]
    chosen = [row for row in rows if row.note.endswith("chosen")]
    assert len(chosen) == 1
    assert chosen[0].setting == Setting(
        profile.precision, profile.engine, profile.device, profile.threads, profile.batch_tokens
    )
    assert profile.questions_per_second == chosen[0].rate > 0
    assert profile.p99_ms == chosen[0].p99_ms
    assert profile.p99_ms > 0
    assert profile.gain is not None
    assert profile.gain == chosen[0].gain
    assert profile.gain == 1 or profile.gain >= 1.02
    assert profile.data == "two texts"
    default = next(row for row in rows if row.setting == default_setting(tiny_bundle))
    assert default.gain == 1
    assert default.note.startswith("default")
    # Of settings within 2 % of the fastest, the one that changes least wins.
    assert all(row.gain is None or row.gain < 1.02 * profile.gain or profile.gain == 1 for row in rows)
    assert {row.setting.batch_tokens for row in rows} >= {1, BATCH_TOKENS["cpu"]}
    assert any("round 1 of" in row.note for seen in shown for row in seen)


def test_what_does_not_answer_well_enough_is_not_chosen(tiny_bundle: Bundle) -> None:
    shown: list[Row] = []
    profile = tune(tiny_bundle, replace(PLAN, min_f1_percent=99), show=shown.extend)
    assert profile.precision == "fp32"
    left_out = [row for row in shown if row.setting.precision == "int8"]
    assert left_out
    assert all(row.rate == 0 and row.note.startswith("not tried: it has no receipt") for row in left_out)
    # int8 is what a reader would take by itself: nothing is said of a gain over it.
    assert profile.gain is None
    assert not any("default" in row.note for row in shown)
    assert "questions a second, the default was not tried" in str(profile)


def test_a_limit_that_nothing_meets_is_an_error(tiny_bundle: Bundle) -> None:
    with pytest.raises(
        EngineError, match=r"no setting answers 99 of 100 questions within 0\.0001 ms .* best needs"
    ):
        tune(tiny_bundle, replace(PLAN, p99_ms=0.0001))


def test_nothing_to_try_is_an_error(tiny_copy: Path) -> None:
    edit_manifest(tiny_copy, lambda content: content["graphs"].pop("fp32"))
    with pytest.raises(EngineError, match="can be tuned here: int8: not tried: it has no receipt"):
        tune(Bundle.load(tiny_copy), replace(PLAN, min_f1_percent=99))


def test_the_command_keeps_the_winner_and_forgets_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = tmp_path / "mine.jsonl"
    data.write_text('{"question": "Who?", "context": "The keeper.", "answers": ["keeper"]}\n', encoding="utf-8")
    seen: list[TunePlan] = []

    def short(bundle: Bundle, plan: TunePlan, **arguments: Any) -> Any:
        seen.append(plan)
        return tune(bundle, replace(plan, seconds=0.5), **arguments)

    monkeypatch.setattr(work, "tune", short)
    options = ["--data", str(data), "--p99-ms", "60000", "--min-f1-percent", "0"]
    done = CliRunner().invoke(main, ["tune", "-b", str(TINY), *options])
    assert done.exit_code == 0, done.output
    assert (seen[0].data, seen[0].p99_ms, seen[0].min_f1_percent) == ("mine.jsonl", 60000, 0)
    bundle = Bundle.load(TINY)
    profile = find_profile(bundle)
    assert profile is not None
    assert str(profile) in " ".join(done.stdout.split())
    assert Reader.load(bundle).options.batch_tokens == profile.batch_tokens
    assert "chosen" in done.stdout
    assert done.stdout.startswith("fastest here: ")
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "used from now on" in done.stderr
    forgotten = CliRunner().invoke(main, ["tune", "-b", str(TINY), "--forget"])
    assert forgotten.stdout == "forgotten: the default is used again\n"
    assert find_profile(bundle) is None
    again = CliRunner().invoke(main, ["tune", "-b", str(TINY), "--forget"])
    assert again.stdout == "there was nothing to forget\n"


def test_details_and_notes_of_the_command_are_shown_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Setting("int8-static-bf16", "onnxruntime", "cuda", 16, 16384)
    rows = [
        Row(fast, rate=1234.5, gain=2.0, p50_ms=111.1, p99_ms=1234.5, note="too slow: p99 over 1000 ms chosen"),
        Row(fast._replace(threads=8), rate=99.0, note="slower in a first look"),
        Row(fast._replace(precision="fp16"), note="not tried: it has no receipt"),
    ]

    def result(bundle: Bundle, plan: TunePlan, *, show: Any) -> Profile:
        show(rows)
        return Profile(
            **fast._asdict(), questions_per_second=1234.5, gain=2.0, p99_ms=1.0, data="d", created="2026-11-29"
        )

    monkeypatch.setattr(work, "tune", result)
    plain, verbose, quiet = (
        CliRunner().invoke(main, ["tune", "-b", str(TINY), *more]) for more in ([], ["-v"], ["-q"])
    )
    for done in (plain, verbose, quiet):
        assert done.stdout.startswith("fastest here: int8-static-bf16 in onnxruntime/cuda, 16 threads, ")
        assert max(map(len, done.stdout.splitlines())) <= 100
        assert "fp16 in onnxruntime/cuda: not tried: it has no receipt" in done.stdout
    assert "99.0" not in plain.stdout
    assert "1 other setting was slower in a first look: -v shows them" in plain.stdout
    assert re.search(r" 99\.0 +- +- +- ", verbose.stdout)
    assert "--forget removes it" in plain.stderr
    assert quiet.stderr == ""


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[TunePlan]:
    """What the command would have done: it stops with an error instead."""
    seen: list[TunePlan] = []

    def stop(bundle: Bundle, plan: TunePlan, **arguments: Any) -> Any:
        seen.append(plan)
        raise EngineError("enough")

    monkeypatch.setattr(work, "tune", stop)
    return seen


def test_the_first_questions_are_of_all_lengths(planned: list[TunePlan], tmp_path: Path) -> None:
    data = tmp_path / "by-length.jsonl"
    line = {"question": "Who?", "answers": ["keeper"]}
    lines = [line | {"context": "The keeper. " * count} for count in range(1, 41)]
    data.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    for words, name in (([], "questions of qa-onnx"), (["--data", str(data)], "by-length.jsonl")):
        done = CliRunner().invoke(main, ["tune", *words])
        assert (done.exit_code, done.stderr) == (1, "Error: enough\n")
        lengths = [len(gold.context) for gold in planned[-1].golds]
        assert planned[-1].data == name
        assert len(lengths) >= 40
        assert max(lengths[:8]) > 3 * min(lengths[:8])


def test_only_what_the_cache_folder_did_is_blamed_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(bundle: Bundle, plan: TunePlan, **arguments: Any) -> Any:
        raise OSError("too many open files")

    monkeypatch.setattr(work, "tune", broken)
    done = CliRunner().invoke(main, ["tune", "-b", str(TINY)])
    assert "too many open files" in done.stderr
    assert "cache folder" not in done.stderr


def test_bad_options_are_wrong_usage() -> None:
    done = CliRunner().invoke(main, ["tune", "-b", str(TINY), "--p99-ms", "-1"])
    assert done.exit_code == 2
    assert "-1.0 is not in the range" in done.stderr


def test_the_child_needs_no_export_packages() -> None:
    code = "import sys, qa_onnx.bench.answerer; print({'torch', 'onnx', 'matplotlib'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_larger_batches_are_tried_where_windows_do_not_run_side_by_side() -> None:
    def budgets(device: str, threads: int, graph_bytes: int = 10**6) -> int:
        return len(_budgets(Setting("int8", "onnxruntime", device, threads, BATCH_TOKENS["cpu"]), graph_bytes))

    assert budgets("cpu", 2) == budgets("cpu", 16) == 2
    assert budgets("cpu", 1) == budgets("cpu", 17) == budgets("cpu", 2, 10**9) == budgets("cuda", 2) == 4
