"""From a checkpoint to a bundle; needs the extra `export`, or `quantize` for a finished ONNX model.

In the order of the work: checkpoint (or finished), model, graph, quantize, parity, writer; exporter joins them.
"""

from qa_onnx.export.exporter import Proof, export

__all__ = ["Proof", "export"]
