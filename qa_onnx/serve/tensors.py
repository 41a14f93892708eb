"""Tensors of the Open Inference Protocol: the body of a request -> texts; columns of results -> a response.

A tensor is in the JSON, or in the extension for binary data after it, in the order of the JSON, little-endian:

    Inference-Header-Content-Length: n       n bytes of JSON, then the tensors that have a binary_data_size
    BYTES                                    for each element its length in 4 bytes, then its bytes
    INT64, FP64                              8 bytes for each element

Left out: which endpoint does it (inference_protocol.py), shared memory, compression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import Response

from qa_onnx.serve import bodies, results
from qa_onnx.serve.inference_schemas import OUTPUTS, InferRequest
from qa_onnx.serve.problems import Problem, field_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import TypeAdapter

    from qa_onnx.serve.middleware import RequestState

BINARY = "application/octet-stream"
_HEADER = "Inference-Header-Content-Length"
_LENGTH = 4  # bytes before each element of BYTES
_MAX_DIGITS = 20  # of the header; Python reads no more than 4,300
_NOT_A_REQUEST = (
    "the body must be JSON in UTF-8, or that with binary tensors after it: send the header Content-Type: "
    f"{bodies.JSON} or {BINARY}"
)
_FORMATS = {"INT64": "<i8", "FP64": "<f8"}


class InferRoute(bodies.PlainRoute):
    """The route of a request whose tensors may be in binary."""

    def parse(self, state: RequestState, adapter: TypeAdapter[Any]) -> InferRequest:
        """Parse a body, and let go of its bytes; each input has its `data` afterwards.

        Raises:
            Problem: 415, the headers say that it is something else; 400, it is not JSON, or the header that says
                where it ends is wrong; 422, a field or a tensor is wrong.
        """
        bodies.check_media(state, ("", bodies.JSON, BINARY), _NOT_A_REQUEST)  # many clients do not say which
        body, state.body = bytes(state.body), bytearray()
        length = _json_length(state, len(body))
        request: InferRequest = bodies.validate(bodies.decode(body[:length]), adapter)
        _read_binary(request, memoryview(body)[length:])
        return request


def _json_length(state: RequestState, size: int) -> int:
    """Return the number of bytes of JSON in a body of so many bytes.

    Raises:
        Problem: 400.
    """
    text = state.header(_HEADER.lower().encode())
    if not text:
        return size
    if not text.isdecimal() or len(text) > _MAX_DIGITS or int(text) > size:
        raise Problem(400, f"the header {_HEADER} must be a number of bytes, at most the {size} of the body")
    return int(text)


def _read_binary(request: InferRequest, rest: memoryview) -> None:
    """Read the inputs that follow the JSON into their `data`.

    Raises:
        Problem: 422.
    """
    sizes = [tensor.parameters.binary_data_size for tensor in request.inputs]
    total = sum(size for size in sizes if size is not None)
    if total != len(rest):
        raise field_problem(
            "#/inputs",
            f"their binary_data_size add up to {total}, but {len(rest)} bytes follow the JSON, which ends where "
            f"the header {_HEADER} says",
        )
    for tensor, size in zip(request.inputs, sizes, strict=True):
        if size is not None:
            tensor.data = _read_texts(tensor.name, rest[:size], tensor.shape[0])
            rest = rest[size:]


def _read_texts(name: str, data: memoryview, count: int) -> list[str]:
    """Return the elements of a BYTES tensor.

    Args:
        name: of the input.
        data: all of its bytes.
        count: number of elements, of its shape.

    Raises:
        Problem: 422, a length is wrong, or an element is not UTF-8.
    """
    texts = []
    position = 0
    for row in range(count):
        start = position + _LENGTH
        length = int.from_bytes(data[position:start], "little")
        position = start + length
        if position > len(data):
            left = len(data) - start
            found = (
                f"its length is {length} bytes and {left} are left" if left >= 0 else "no length is left for it"
            )
            raise field_problem(f"#/inputs/{name}", f"element {row} of {count} is cut short: {found}")
        try:
            texts.append(str(data[start:position], "utf-8"))
        except UnicodeDecodeError:
            raise field_problem(f"#/inputs/{name}", f"element {row} is not UTF-8: encode it so") from None
    if position != len(data):
        left = len(data) - position
        raise field_problem(f"#/inputs/{name}", f"{left} bytes are left after its {count} elements")
    return texts


def respond(head: Mapping[str, Any], request: InferRequest, columns: Mapping[str, Sequence[Any]]) -> Response:
    """Return a response with the outputs that a request asks for, each in JSON or in binary.

    Args:
        head: the fields before the outputs.
        request: that is answered.
        columns: by the name of the output, a value for each row.
    """
    wanted: dict[str, bool | None] = {item.name: item.parameters.binary_data for item in request.outputs}
    outputs, parts = [], []
    for name in wanted or OUTPUTS:
        values, binary = columns[name], wanted.get(name)
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(values)]}
        if request.parameters.binary_data_output if binary is None else binary:
            parts.append(_to_bytes(OUTPUTS[name], values))
            outputs.append(output | {"parameters": {"binary_data_size": len(parts[-1])}})
        else:
            outputs.append(output | {"data": values})
    if not parts:
        return results.respond({**head, "outputs": outputs})
    content = results.encode({**head, "outputs": outputs})
    return Response(b"".join((content, *parts)), headers={_HEADER: str(len(content))}, media_type=BINARY)


def _to_bytes(datatype: str, values: Sequence[Any]) -> bytes:
    """Return the bytes of a tensor."""
    if datatype in _FORMATS:
        return np.asarray(values, _FORMATS[datatype]).tobytes()
    texts = [text.encode() for text in values]
    return b"".join(len(text).to_bytes(_LENGTH, "little") + text for text in texts)
