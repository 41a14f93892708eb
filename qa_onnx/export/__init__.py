"""From a checkpoint to a bundle; needs the extra `export`, or `quantize` for a finished ONNX model.

In the order of the work: checkpoint (or finished), model, graph, quantize, parity, writer; exporter joins them.
"""

import logging

from qa_onnx.export.exporter import Proof, export

__all__ = ["Proof", "export"]

logging.getLogger("qa_onnx").addHandler(logging.NullHandler())  # silent unless the host listens
