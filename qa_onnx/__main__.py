"""`python -m qa_onnx`: the command line, where the folder of its script is not on the PATH."""

from qa_onnx.cli import main

main(prog_name="qa-onnx")
