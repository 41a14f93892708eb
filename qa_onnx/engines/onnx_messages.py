"""The messages of an ONNX file: their fields by number, single and repeated, and the data types of a tensor.

Numbers are those of onnx.proto in onnx 1.21. Left out: what the fields mean for us (onnx_reader.py).
"""

from __future__ import annotations

from qa_onnx.engines.wire import BYTES, FIXED32, FIXED64, INTEGER, Message

MODEL = Message(
    "model",
    {1: INTEGER, 2: BYTES, 3: BYTES, 4: BYTES, 5: INTEGER, 6: BYTES, 7: BYTES},
    {8: BYTES, 14: BYTES, 20: BYTES, 25: BYTES, 26: BYTES},
)
OPSET = Message("set of operators", {1: BYTES, 2: INTEGER}, {})
GRAPH = Message("graph", {2: BYTES, 10: BYTES}, dict.fromkeys((1, 5, 11, 12, 13, 14, 15, 16), BYTES))
NODE = Message("node", dict.fromkeys((3, 4, 6, 7, 8), BYTES), dict.fromkeys((1, 2, 5, 9, 10), BYTES))
ATTRIBUTE = Message(
    "attribute",
    {1: BYTES, 2: FIXED32, 3: INTEGER, 4: BYTES, 5: BYTES, 6: BYTES, 13: BYTES, 14: BYTES, 20: INTEGER}
    | {21: BYTES, 22: BYTES},
    {7: FIXED32, 8: INTEGER, 9: BYTES, 10: BYTES, 11: BYTES, 15: BYTES, 23: BYTES},
)
TENSOR = Message(
    "tensor",
    {2: INTEGER, 3: BYTES, 8: BYTES, 9: BYTES, 12: BYTES, 14: INTEGER},
    {1: INTEGER, 4: FIXED32, 5: INTEGER, 6: BYTES, 7: INTEGER, 10: FIXED64, 11: INTEGER, 13: BYTES, 16: BYTES},
)
ENTRY = Message("pair of strings", {1: BYTES, 2: BYTES}, {})
VALUE = Message("value", {1: BYTES, 2: BYTES, 3: BYTES}, {4: BYTES})
TYPE = Message("type", {1: BYTES, 4: BYTES, 5: BYTES, 6: BYTES, 7: BYTES, 8: BYTES, 9: BYTES}, {})
TENSOR_TYPE = Message("tensor type", {1: INTEGER, 2: BYTES}, {})
SHAPE = Message("shape", {}, {1: BYTES})
DIMENSION = Message("dimension", {1: INTEGER, 2: BYTES, 3: BYTES}, {})

FLOAT, INT32, INT64, FLOAT16 = 1, 6, 7, 10
# Data type of a tensor -> bits of an element, and the field that holds its elements if they are not raw bytes.
# Text, complex numbers and floats of 8 bits are no part of a question answering model.
INT32_DATA, INT64_DATA, DOUBLE_DATA, UINT64_DATA, RAW = 5, 7, 10, 11, 9
TYPES = {FLOAT: (32, 4), INT64: (64, INT64_DATA), 11: (64, DOUBLE_DATA), 12: (32, UINT64_DATA)} | {
    13: (64, UINT64_DATA),
    **dict.fromkeys((2, 3, 9), (8, INT32_DATA)),
    **dict.fromkeys((4, 5, FLOAT16, 16), (16, INT32_DATA)),
    **dict.fromkeys((21, 22), (4, INT32_DATA)),
    INT32: (32, INT32_DATA),
}
PLACES = frozenset((4, INT32_DATA, 6, INT64_DATA, RAW, DOUBLE_DATA, UINT64_DATA))
