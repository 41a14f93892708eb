#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one command.
#
#   benchmarks/gpu.sh [--checkpoint FOLDER] [--out DIR] [--quick]
#
# Exports the checkpoint (without one: a BERT-large of random weights, made on the spot, for speed only), lets
# PyTorch and the bundle race on the GPU, puts MLPerf's published figures beside ours, and runs the GPU's tests with
# parity and speed of every engine. Writes results.json, with the GPU's name, and the report.
#
# PYTHON is the interpreter; by default that of .venv-gpu, which `make gpu` makes.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }
fail() {
    echo "gpu.sh: $1" >&2
    exit "${2:-1}"
}

checkpoint=""
out="build/gpu-report"
quick=()
while [ $# -gt 0 ]; do
    case "$1" in
        --checkpoint | --out)
            [ $# -ge 2 ] || fail "$1 needs a folder" 2
            if [ "$1" = --out ]; then out="$2"; else checkpoint="$2"; fi
            shift 2
            ;;
        --quick)
            quick=(--quick)
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) fail "no option $1; there are --checkpoint FOLDER, --out DIR and --quick" 2 ;;
    esac
done
[ -z "$checkpoint" ] || [ -f "$checkpoint/config.json" ] || fail "$checkpoint is no checkpoint: it has no config.json" 2

python="${PYTHON:-.venv-gpu/bin/python}"
command -v "$python" > /dev/null || fail "no $python: make gpu makes it; or name an interpreter with PYTHON=..."
"$python" -c '
import sys
from qa_onnx import QaOnnxError
from qa_onnx.engines.names import Backend
from qa_onnx.engines.sessions import check_usable
try:
    check_usable(Backend("onnxruntime", "cuda"))
except QaOnnxError as error:
    sys.exit(f"gpu.sh: no GPU to measure: {error}")
'

if [ -z "$checkpoint" ]; then
    "$python" benchmarks/shapes.py bert-large
    checkpoint="build/rivals/shapes/bert-large"
fi
bundle=$("$python" benchmarks/bundles.py "$checkpoint" --precision fp32 --precision fp16)
"$python" -m qa_onnx bench --bundle "$bundle" --against "$checkpoint" --device cuda --out "$out" "${quick[@]}"
"$python" benchmarks/mlperf.py "$bundle" --json "$out/mlperf.json" "${quick[@]}"
"$python" benchmarks/gpu_check.py
echo "wrote $out/results.json, $out/report.html and $out/mlperf.json"
