"""From a checkpoint to a bundle; needs the extra `export`, or `quantize` for a finished ONNX model.

In the order of the work: checkpoint (or finished), model, graph, quantize, parity, writer; exporter joins them.

May import: everything of the run time. Left out: training a checkpoint (train).
"""

from qa_onnx.export.exporter import Proof, export

__all__ = ["Proof", "export"]
