"""bf16: the graphs of fp32 and int8-static as OpenVINO computes them in bfloat16, and CPUs that cannot.

Which CPU this is does not matter to what is believed of it: instruction sets are set by hand. What OpenVINO
computes in bfloat16 is looked at where it can, by its own word, and skipped elsewhere.
"""

from __future__ import annotations

import json
import pickle
import sys
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from qa_onnx import (
    Bundle,
    BundleFormatError,
    EngineError,
    MissingExtraError,
    Reader,
    pipeline,
)
from qa_onnx.bench.contenders import list_contenders
from qa_onnx.bench.tune import accuracy_note, settings
from qa_onnx.bundle import manifest
from qa_onnx.bundle.files import MANIFEST
from qa_onnx.bundle.runtime import resolve_runtime
from qa_onnx.cli import main
from qa_onnx.engines import openvino_cpu
from qa_onnx.engines.names import PRECISIONS, Backend, usual_engine
from qa_onnx.engines.sessions import open_session
from qa_onnx.evaluation import golden
from qa_onnx.machine import cpu, packages
from tests import exports
from tests.conftest import TINY, edit_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from click.testing import Result

    from qa_onnx.export import EvaluationSettings

WITH, WITHOUT = ("avx2", "avx512f", "amx_bf16"), ("avx2", "avx512f")
NONE = "this CPU has no bf16 (neither avx512_bf16 nor amx_bf16)"
QUESTIONS = ("What lay still?", "When?", "Where?", "How many?", "Why?", "What?", "Whose lamp?", "Which ships?")
TEXT = "The keeper lit the lamp at dusk. Ships saw it from afar, and the harbour lay still."
BF16 = {name: precision.graph for name, precision in PRECISIONS.items() if precision.bf16}
OPENVINO = pytest.mark.usefixtures("openvino_in_bf16")


@pytest.fixture(scope="session")
def openvino_in_bf16() -> None:
    """Skip what lets OpenVINO compute in bfloat16 where it, or the CPU, cannot."""
    if find_spec("openvino") is None:
        pytest.skip("needs the openvino extra")
    able = openvino_cpu.import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in able:
        pytest.skip(f"needs a CPU on which OpenVINO computes in bfloat16; here it has {', '.join(able)}")


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with bf16."""
    monkeypatch.setattr(cpu, "instruction_sets", lambda: WITH)


@pytest.fixture
def no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without bf16."""
    monkeypatch.setattr(cpu, "instruction_sets", lambda: WITHOUT)


def with_graphs(folder: Path, *names: str) -> Path:
    """Let a copy of the tiny bundle hold these precisions, all of them its fp32 graph where they are new."""

    def change(content: dict[str, Any]) -> None:
        graphs = content["graphs"]
        new = {**graphs["fp32"], "engines": ["openvino/cpu"]}
        graphs["fp32"]["engines"].append("openvino/cpu")
        content["graphs"] = {name: graphs.get(name, new) for name in names}

    edit_manifest(folder, change)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def batch(tokens: int) -> dict[str, Any]:
    ids = np.random.default_rng(0).integers(5, 40, (2, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


# What this CPU can


@pytest.mark.parametrize(
    ("held", "where", "best"),
    [
        (("fp32", "int8-static", "bf16", "int8-static-bf16"), WITH, "int8-static-bf16"),
        (("fp32", "int8-static", "bf16", "int8-static-bf16"), WITHOUT, "int8-static"),
        (("fp32", "int8-static", "bf16"), WITH, "int8-static"),
        (("fp32", "bf16"), WITH, "bf16"),
        (("fp32", "bf16"), WITHOUT, "fp32"),
    ],
)
def test_the_best_precision_is_one_that_the_cpu_has(
    held: tuple[str, ...],
    where: tuple[str, ...],
    best: str,
    tiny_copy: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu, "instruction_sets", lambda: where)
    folder = with_graphs(tiny_copy, *held)
    if "int8-static" in held:
        edit_manifest(folder, lambda content: content["graphs"]["int8-static"].update(engines=["openvino/cpu"]))
    assert Bundle.load(folder).best_precision(Backend("openvino", "cpu")) == best


@pytest.mark.usefixtures("no_bf16")
def test_a_bundle_that_holds_nothing_else_says_why_it_does_not_run(tiny_copy: Path) -> None:
    bundle = Bundle.load(with_graphs(tiny_copy, "bf16"))
    with pytest.raises(EngineError) as refused:
        Reader.load(bundle, engine="openvino")
    message = str(refused.value)
    assert message.startswith(
        f"{tiny_copy} holds bf16, none of which runs on openvino/cpu, since {NONE}: qa-onnx export"
    )
    assert "--precision int8-static adds it" in message


@pytest.mark.parametrize(
    ("sets", "reason"),
    [(WITHOUT, NONE), ((), "it is not known whether this CPU has bf16 (only Linux on x86-64 tells)")],
)
@pytest.mark.parametrize(("name", "other"), BF16.items())
def test_what_was_asked_for_by_name_is_refused_with_the_precision_to_use(
    sets: tuple[str, ...], reason: str, name: str, other: str, tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "instruction_sets", lambda: sets)
    folder = with_graphs(tiny_copy, "fp32", name)
    with pytest.raises(EngineError) as refused:
        Reader.load(folder, precision=name)
    message = f"{name} cannot run here, since {reason}: use {other}, the same graph without bf16"
    assert str(refused.value) == message
    result = run("ask", "-b", folder, "--precision", name, "-q", "Who?", "-c", folder / MANIFEST)
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())


@pytest.mark.usefixtures("bf16")
def test_the_precision_brings_its_engine(tiny_copy: Path) -> None:
    bundle = Bundle.load(with_graphs(tiny_copy, "fp32", "bf16"))

    def engine(precision: str | None, **arguments: Any) -> str:
        return resolve_runtime(bundle, precision=precision, **arguments).backend.engine

    assert engine("bf16") == usual_engine("int8-static-bf16", "cpu") == "openvino"
    assert engine("fp32") == engine(None, device="cpu") == usual_engine("bf16", "cuda") == "onnxruntime"
    with pytest.raises(
        EngineError, match=r"bf16 of .* runs on openvino/cpu, not on onnxruntime/cpu: choose .* fp32 does"
    ):
        Reader.load(bundle, precision="bf16", engine="onnxruntime")
    with pytest.raises(EngineError, match="runs on openvino/cpu, not on onnxruntime/cuda"):
        Reader.load(bundle, precision="bf16", device="cuda")


# What a bundle says


def test_a_bundle_with_bf16_has_the_newer_format_and_others_the_old_one(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = {}
    for names in (("fp32", "int8"), ("fp32", "bf16"), ("fp32", "int8-static-bf16")):
        loaded = Bundle.load(with_graphs(tiny_copy, *names)).manifest
        assert tuple(loaded.graphs) == names
        written[names[1]] = json.loads(loaded.to_json())["format_version"]
        edit_manifest(tiny_copy, lambda content: content["graphs"].setdefault("int8", INT8))
    assert written == {"int8": "1.0", "bf16": "1.1", "int8-static-bf16": "1.1"}
    assert [entry.name.partition("-")[0] for entry in loaded.files()] == ["tokenizer", "model", "golden"]
    (tiny_copy / MANIFEST).write_text(loaded.to_json(), encoding="utf-8")
    assert Bundle.load(tiny_copy).manifest == loaded
    monkeypatch.setattr(manifest, "FORMAT_VERSION", (1, 0))
    with pytest.raises(
        BundleFormatError, match=r"has format 1\.1; this release reads up to 1\.0: pip install --upgrade qa-onnx"
    ):
        Bundle.load(tiny_copy)


INT8 = json.loads((TINY / MANIFEST).read_bytes())["graphs"]["int8"]


# OpenVINO


@OPENVINO
def test_openvino_computes_in_bfloat16_when_asked_and_never_by_itself(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints: list[str] = []
    openvino = openvino_cpu.import_openvino()

    class Watched:
        def compile_model(self, path: Path, device: str, settings: Mapping[str, Any]) -> Any:
            hints.append(settings["INFERENCE_PRECISION_HINT"])
            return openvino.Core().compile_model(path, device, settings)

    monkeypatch.setattr(openvino_cpu, "import_openvino", lambda: SimpleNamespace(Core=Watched))
    monkeypatch.setattr(cpu, "instruction_sets", lambda: WITH)
    path = exports.graph_path(tiny_bundle, "fp32")
    logits = {}
    for precision in ("fp32", "int8-static", "bf16", "int8-static-bf16"):
        session = open_session(
            path, backend=Backend("openvino"), inputs=(), longest=64, threads=1, precision=precision
        )
        logits[precision] = np.stack(pickle.loads(pickle.dumps(session)).run(batch(41)))
    np.testing.assert_allclose(logits["bf16"], logits["fp32"], atol=0.1, rtol=0)
    assert hints == ["f32"] * 4 + ["bf16"] * 4


@OPENVINO
@pytest.mark.usefixtures("bf16")
def test_commands_and_pipeline_run_it_by_its_name(tiny_copy: Path, tmp_path: Path) -> None:
    folder = with_graphs(tiny_copy, "fp32", "bf16")
    checks = json.loads(run("inspect", "-b", folder, "--verify", "--json").stdout)
    assert checks["verify"]["bf16"]["passed"] is True
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    answer = Reader.load(folder, precision="fp32", threads=1).ask("Who lit the lamp?", TEXT)
    answered = run("ask", "-b", folder, "--precision", "bf16", "--json", "-q", "Who lit the lamp?", "-c", text)
    assert answered.exit_code == 0, answered.output
    assert json.loads(answered.stdout)["answer"]["score"] == pytest.approx(answer.score, abs=0.2)
    data = tmp_path / "data.jsonl"
    data.write_text(
        json.dumps({"question": "Who lit the lamp?", "context": TEXT, "answers": ["The keeper"]}), encoding="utf-8"
    )
    for arguments in (
        ("eval", data, "-b", folder, "--precision", "bf16"),
        ("diff", f"{folder}:fp32", f"{folder}:bf16", data),
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
    result = pipeline("question-answering", str(folder), precision="bf16")(question="Who?", context=TEXT)
    assert isinstance(result, dict)
    assert result["answer"] in TEXT


# inspect, bench, tune


@pytest.mark.parametrize(("sets", "reason"), [(WITHOUT, NONE), (WITH, "OpenVINO is not installed")])
def test_verify_names_what_it_cannot_run(
    sets: tuple[str, ...], reason: str, tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "instruction_sets", lambda: sets)
    monkeypatch.setitem(sys.modules, "openvino", None)
    folder = with_graphs(tiny_copy, "fp32", "bf16")
    result = run("inspect", "-b", folder, "--verify")
    assert result.exit_code == 0
    assert "bf16 cannot run here." in result.stdout.splitlines()[0]
    assert reason in " ".join(result.stdout.split())
    check = json.loads(run("inspect", "-b", folder, "--verify", "--json").stdout)["verify"]["bf16"]
    assert (check["passed"], check["max_abs"]) == (None, None)


@OPENVINO
def test_tune_tries_it_where_the_cpu_has_it_and_a_receipt_allows_it(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.load(with_graphs(tiny_copy, "fp32", "bf16"))
    monkeypatch.setattr(cpu, "instruction_sets", lambda: WITH)
    assert {(one.precision, one.engine) for one in settings(bundle)} >= {
        ("bf16", "openvino"),
        ("fp32", "openvino"),
    }
    assert accuracy_note(bundle, "bf16", 99).startswith("it has no receipt")
    monkeypatch.setattr(cpu, "instruction_sets", lambda: WITHOUT)
    assert "bf16" not in {one.precision for one in settings(bundle)}


@OPENVINO
def test_bench_runs_it_or_names_the_reason(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.load(with_graphs(tiny_copy, "fp32", "bf16"))
    for sets, reason in ((WITH, ""), (WITHOUT, NONE)):
        monkeypatch.setattr(cpu, "instruction_sets", lambda sets=sets: sets)
        for precisions in (None, ["bf16"]):
            contenders = list_contenders(bundle, precisions=precisions, against=None, device="cpu")
            assert {one.name: one.why_not for one in contenders}["bf16, openvino"] == reason
    monkeypatch.setattr(cpu, "instruction_sets", lambda: WITHOUT)
    result = run("bench", "-b", bundle.path, "--precisions", "bf16", "--quick", "--seconds", "1")
    assert result.exit_code == 1
    assert f"bf16, openvino: {NONE}" in " ".join(result.stderr.split())


def test_a_server_takes_it_to_its_engine_and_refuses_it_with_the_reason(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi", reason="needs the serve extra")
    from qa_onnx.cli.options import ReaderSettings
    from qa_onnx.cli.serve import model

    monkeypatch.setattr(cpu, "instruction_sets", lambda: WITHOUT)
    chosen: dict[str, Any] = dict.fromkeys(ReaderSettings.__dataclass_fields__) | {
        "bundle": with_graphs(tiny_copy, "fp32", "bf16"),
        "precision": "bf16",
        "allow_fallback": False,
    }
    with pytest.raises(EngineError, match=r"bf16 cannot run here, since .*: use fp32"):
        model(ReaderSettings(**chosen), 1)
    monkeypatch.setattr(cpu, "instruction_sets", lambda: WITH)
    served = model(ReaderSettings(**chosen), 1).runtime
    assert (served.precision, str(served.backend)) == ("bf16", "openvino/cpu")


# Export


@pytest.fixture
def evaluation(tmp_path: Path) -> EvaluationSettings:
    """Questions for the ranges, and others to which any words of the text are an answer that is partly right."""
    from qa_onnx.export import EvaluationSettings

    files = []
    for name, questions in (("fit", ("Who lit the lamp?", "Who saw it?")), ("eval", QUESTIONS)):
        files.append(tmp_path / f"{name}.jsonl")
        lines = [{"question": question, "context": TEXT, "answers": [TEXT]} for question in questions]
        files[-1].write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return EvaluationSettings(eval_data=files[1], gate=0.01, calibration_data=files[0], calibration_examples=2)


@OPENVINO
@pytest.mark.export
@pytest.mark.usefixtures("bf16")
def test_an_export_writes_one_file_for_both_and_all_of_it_works(tmp_path: Path) -> None:
    from qa_onnx.export import export

    bundle = export(exports.checkpoint("bert"), tmp_path / "bundle", precisions=("fp32", "bf16"))
    assert bundle == exports.check_files(bundle.path)
    assert len(list(bundle.path.glob("model-*.onnx"))) == 1
    fp32, ours = bundle.graph("fp32"), bundle.graph("bf16")
    assert fp32.file == ours.file
    assert (ours.backends, ours.kind, ours.receipt) == (("openvino/cpu",), "fused", None)
    assert ours.parity
    assert ours.parity.max_abs < 0.5
    assert json.loads((bundle.path / MANIFEST).read_bytes())["format_version"] == "1.1"
    assert {"openvino", "onnxruntime"} <= bundle.manifest.versions.keys()
    readers = [Reader.load(bundle, precision=name, threads=1) for name in ("fp32", "bf16")]
    assert [str(reader.backend) for reader in readers] == ["onnxruntime/cpu", "openvino/cpu"]
    for reader, name in zip(readers, ("fp32", "bf16"), strict=True):
        assert golden.check(reader, bundle.text(bundle.graph(name).golden), name).passed
        assert reader.ask("Who lit the lamp?", TEXT).text in TEXT
    result = run("inspect", "-b", bundle.path, "--verify", "--json")
    assert result.exit_code == 0, result.output
    assert [check["passed"] for check in json.loads(result.stdout)["verify"].values()] == [True] * 3
    old = export(exports.checkpoint("bert"), tmp_path / "old", precisions=("fp32",))
    assert json.loads((old.path / MANIFEST).read_bytes())["format_version"] == "1.0"
    added = export(exports.checkpoint("bert"), old.path, precisions=("bf16",))
    assert list(added.manifest.graphs) == ["fp32", "bf16"]
    assert added.graph("fp32") == old.graph("fp32")
    assert exports.check_files(added.path).manifest.format_version == (1, 1)


@OPENVINO
@pytest.mark.export
@pytest.mark.slow
@pytest.mark.usefixtures("bf16")
def test_ranges_are_found_once_and_every_receipt_names_its_engine(
    evaluation: EvaluationSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qa_onnx.export import export, static

    quantized: list[Path] = []
    really = static.quantize_static

    def count(plain: Path, target: Path, *rest: Any, **options: Any) -> Any:
        quantized.append(target)
        return really(plain, target, *rest, **options)

    monkeypatch.setattr(static, "quantize_static", count)
    names = ("fp32", "bf16", "int8-static", "int8-static-bf16")
    bundle = export(exports.checkpoint("bert"), tmp_path / "bundle", precisions=names, evaluation=evaluation)
    assert len(quantized) == 1
    assert len(list(bundle.path.glob("model-*.onnx"))) == 2
    graphs = bundle.manifest.graphs
    assert tuple(graphs) == names
    assert graphs["int8-static"].file == graphs["int8-static-bf16"].file
    receipts = {name: graph.receipt for name, graph in graphs.items()}
    assert {name: receipt.engine for name, receipt in receipts.items() if receipt} == {
        "fp32": "onnxruntime/cpu",
        "bf16": "openvino/cpu",
        "int8-static": "onnxruntime/cpu",
        "int8-static-bf16": "openvino/cpu",
    }
    static_receipt, ours = receipts["int8-static"], receipts["int8-static-bf16"]
    assert static_receipt
    assert ours
    assert ours.settings == static_receipt.settings
    assert ours.instruction_sets == WITH
    report = run("report", "-b", bundle.path, "-v")
    assert "in openvino/cpu on a CPU with avx2, avx512f, amx_bf16" in " ".join(report.stdout.split())
    if find_spec("matplotlib"):
        page = tmp_path / "page.html"
        assert run("report", "-b", bundle.path, "--html", page).exit_code == 0
        assert "openvino/cpu" in page.read_text(encoding="utf-8")


@pytest.mark.export
def test_a_graph_with_other_nodes_excluded_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qa_onnx.export import static
    from qa_onnx.export.graph import GraphFile
    from qa_onnx.export.precisions import PrecisionMaker

    targets: list[Path] = []

    def quantize(_plain: Path, target: Path, _batches: Any, *, exclude: tuple[str, ...]) -> GraphFile:
        targets.append(target)
        return GraphFile(target, {}, tuple(exclude))

    monkeypatch.setattr(static, "quantize_static", quantize)
    done = GraphFile(tmp_path / "model-0.onnx", {}, ("first",), {"method": "minmax"})
    unused: Any = None
    model: Any = SimpleNamespace(path=tmp_path / "plain.onnx")
    writer: Any = SimpleNamespace(stage=tmp_path)
    maker = PrecisionMaker(model, unused, unused, (), None, writer, {"int8-static": done})
    assert maker.make_graph("int8-static-bf16", ("first",)) is done
    assert maker.make_graph("int8-static", ["first"]) is done
    for exclude in ((), ("first", "second")):
        made = maker.make_graph("int8-static-bf16", exclude)
        assert (made.path, made.excluded_nodes) == (tmp_path / "int8-static-bf16.onnx", exclude)
    assert targets == [tmp_path / "int8-static-bf16.onnx"] * 2


@pytest.mark.export
@pytest.mark.usefixtures("no_bf16")
@pytest.mark.parametrize("name", BF16)
def test_an_export_is_refused_before_work_where_the_cpu_lacks_it(name: str, tmp_path: Path) -> None:
    result = run("export", exports.checkpoint("bert"), "--to", tmp_path / "bundle", "--precision", name)
    assert result.exit_code == 1
    assert " ".join(result.stderr.split()) == (
        f"Error: {name} cannot be exported here, since {NONE} and an export measures what it writes: export "
        f"{BF16[name]}, or do it on a CPU with bf16"
    )
    assert not (tmp_path / "bundle").exists()


@pytest.mark.export
@pytest.mark.usefixtures("bf16")
def test_an_export_is_refused_before_work_where_openvino_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qa_onnx.export import export

    really = packages.version
    monkeypatch.setattr(packages, "version", lambda name: None if name == "openvino" else really(name))
    with pytest.raises(MissingExtraError, match=r"^openvino not installed: pip install 'qa-onnx\[openvino\]'$"):
        export(exports.checkpoint("bert"), tmp_path / "bundle", precisions=("fp32", "bf16"))
    assert not (tmp_path / "bundle").exists()


@OPENVINO
@pytest.mark.export
@pytest.mark.usefixtures("bf16")
def test_what_to_try_next_names_the_precision_where_nothing_runs_by_itself(tmp_path: Path) -> None:
    result = run("export", exports.checkpoint("bert"), "--to", tmp_path / "bundle", "--precision", "bf16")
    assert result.exit_code == 0, result.output
    assert f"try it: qa-onnx ask -b {tmp_path / 'bundle'} --precision bf16 -q" in result.stderr
    with pytest.raises(EngineError, match="holds bf16, none of which runs on onnxruntime/cpu: qa-onnx export"):
        Reader.load(tmp_path / "bundle")
