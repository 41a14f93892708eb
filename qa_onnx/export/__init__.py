"""From a checkpoint to a bundle; needs the extra `export`, or `quantize` for a finished ONNX model.

Reading order: exporter (the steps), checkpoint or finished, graph, precisions, gate, writer.

May import: everything of the run time. Left out: training a checkpoint (train).
"""

from qa_onnx.export.exporter import export
from qa_onnx.export.settings import EvaluationSettings

__all__ = ["EvaluationSettings", "export"]
