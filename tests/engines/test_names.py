"""The table of precisions: one record is enough for every place that reads it."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.conftest import TINY

# A precision that does not exist: fp32's graph under another name, best of all in ONNX Runtime on the CPU.
MADE_UP = f"""
import json, pathlib, sys
from qa_onnx.engines import names
names.PRECISIONS["made-up"] = names.Precision(
    "fp32", {{"onnxruntime/cpu": 0}}, 0.25, bf16=True, fixed_ranges=True, since=(1, 1)
)
from click.testing import CliRunner
from qa_onnx import Bundle, EngineError, Reader
from qa_onnx.bench.tune import accuracy_note, settings
from qa_onnx.bundle.manifest import decode_manifest
from qa_onnx.cli import main
from qa_onnx.evaluation import golden
from qa_onnx.machine import cpu
cpu.instruction_sets = lambda: ("amx_bf16",)
content = json.loads((pathlib.Path({str(TINY)!r}) / "bundle.json").read_text())
content["graphs"]["made-up"] = content["graphs"]["fp32"]
bundle = Bundle(pathlib.Path({str(TINY)!r}), decode_manifest(json.dumps(content).encode(), "bundle.json"))
reader = Reader.load(bundle, threads=1)
found = {{
    "backends": list(map(str, names.backends_of("made-up"))),
    "chosen": reader.precision,
    "format": bundle.manifest.format_version,
    "tolerance": golden.check(reader, bundle.text(bundle.graph("made-up").golden), "made-up").tolerance,
    "tuned": sorted({{one.precision for one in settings(bundle)}}),
    "note": accuracy_note(bundle, "made-up", 99),
    "help": "made-up" in CliRunner().invoke(main, ["ask", "--help"]).output,
}}
cpu.instruction_sets = lambda: ("avx2",)
try:
    Reader.load(bundle, precision="made-up")
except EngineError as error:
    found["refused"] = str(error)
print(json.dumps(found))
"""


def test_a_precision_is_one_record() -> None:
    done = subprocess.run([sys.executable, "-c", MADE_UP], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "backends": ["onnxruntime/cpu"],
        "chosen": "made-up",
        "format": [1, 1],
        "tolerance": 0.25,
        "tuned": ["fp32", "int8", "made-up"],
        "note": "it has no receipt with its accuracy: export it with --eval-data, or use --min-f1-percent 0",
        "help": True,
        "refused": "made-up cannot run here, since this CPU has no bf16 (neither avx512_bf16 nor amx_bf16): use "
        "fp32, the same graph without bf16",
    }
