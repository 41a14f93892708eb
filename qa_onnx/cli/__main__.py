"""`python -m qa_onnx.cli`."""

from qa_onnx.cli import main

main(prog_name="qa-onnx")
