"""Bytes -> other bytes: changes of single bytes, of values in JSON, and of fields in Protocol Buffers.

All choices are those of the Random that is handed in, so a seed gives the same inputs on any machine.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    Change = Callable[[Random, bytes], bytes]

LONGEST = 1 << 20  # bytes of an input; what grows beyond is cut

_TEXTS = (
    "", " ", "\0", "a" * 300, "a" * 100_000, "é" * 70, "\u202e", "\x1b[31m", "\ud800", "🏔️" * 30,
    "ﷺ" * 200, "ß" * 99,
    "../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "a/../../b", "*/_ORT_MEM_ADDR_/*", "org/name",
    "[UNK]", "##", "(a|a?)+$", "(?<=(a+)+)b", "\\p{L}+(?!x)", "$0$0$0$0", "Loop", "If", "Scan", "ConstantOfShape",
    "ai.onnx.ml", "com.microsoft", "NaN", "1e999", "2026-11-28", "true", "null", "[1, 2]", "{}",
)  # fmt: skip
_NUMBERS = (
    0, 1, -1, 2, 7, 127, 255, 256, 65535, 10**6, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1,
    10**400, 0.0, -0.0, 0.5, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
_PARTS = (
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\r\n",
    b"\n\n",
    b'"',
    b"[",
    b"{",
    b"}",
    b",",
    b"\\u0000",
    b"%s",
)
_DEEP = "@deep@"


def change_bytes(rng: Random, data: bytes) -> bytes:
    """Change, remove, repeat or insert a few bytes."""
    content = bytearray(data)
    for _ in range(1 + int(rng.expovariate(0.5))):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + 1 + int(rng.expovariate(0.1)))
        kind = rng.randrange(6)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at:end] = rng.randbytes(end - at)
        elif kind == 2:
            del content[at:end]
        elif kind == 3:
            content[at:at] = content[at:end] * rng.choice((1, 2, 50))
        elif kind == 4:
            content[at:at] = rng.choice(_PARTS)
        elif rng.random() < 0.2:
            del content[at:]
    return bytes(content[:LONGEST])


def change_json(rng: Random, data: bytes) -> bytes:
    """Change a few values or keys of a JSON text; bytes where it is none."""
    try:
        root = [json.loads(data)]
    except (ValueError, RecursionError):
        return change_bytes(rng, data)
    for _ in range(1 + int(rng.expovariate(0.7))):
        _change_value(rng, root)
    text = json.dumps(root[0], indent=rng.choice((None, 1)), ensure_ascii=rng.random() < 0.5)
    if _DEEP in text:
        depth = rng.choice((50, 2_000, 100_000))
        opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
        text = text.replace(f'"{_DEEP}"', opening * depth + "1" + closing * depth)
    changed = text.encode("utf-8", "surrogatepass")[:LONGEST]
    return change_bytes(rng, changed) if rng.random() < 0.15 else changed


def change_lines(rng: Random, data: bytes) -> bytes:
    """Change one line of a file as JSON, or move, remove or repeat lines."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        lines[at] = change_json(rng, lines[at])
    elif kind == 1:
        lines.insert(at, rng.choice(lines))
    elif kind == 2:
        del lines[at]
    else:
        lines[at] = change_bytes(rng, lines[at])
    return b"\n".join(lines)[:LONGEST]


def _change_value(rng: Random, root: list[Any]) -> None:
    """Change one place somewhere in a value of JSON, in place."""
    places: list[tuple[Any, Any]] = []
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            places.append((node, key))
            if isinstance(value, (dict, list)):
                stack.append(value)
    node, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0 and node is not root:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice((*_TEXTS, f"{key}_", key.upper()))] = node.pop(key)
    elif kind == 2 and isinstance(node[key], str):
        node[key] = _change_text(rng, node[key])
    elif kind == 3:
        other, name = rng.choice(places)
        node[key] = json.loads(json.dumps(other[name]))
    elif kind == 4 and isinstance(node, list) and node is not root:
        node[key:key] = [node[key]] * rng.choice((1, 2, 100))
    else:
        node[key] = rng.choice((*_NUMBERS, *_TEXTS, None, True, False, [], {}, [[]], _DEEP))


def _change_text(rng: Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    piece = rng.choice((*_TEXTS, chr(rng.choice((0x7F, 0x300, 0xFFFD, 0xD7FF, 0x10FFFF))), text))
    return text[:at] + piece + text[at + rng.choice((0, 0, 1, 5)) :]


# Protocol Buffers: a message is a list of fields (number, wire type, value); a value of type 2 is bytes.

_BLOB = 4096  # longer values are weights, and are not looked into


def change_message(rng: Random, data: bytes) -> bytes:
    """Change a few fields of a message, or of messages in it; lengths stay right."""
    for _ in range(1 + int(rng.expovariate(0.7))):
        fields = _fields(data)
        data = change_bytes(rng, data) if not fields else _encode(_changed_fields(rng, fields))
    return data[:LONGEST]


def _changed_fields(rng: Random, fields: list[tuple[int, int, Any]]) -> list[tuple[int, int, Any]]:
    at = rng.randrange(len(fields))
    number, wire, value = fields[at]
    inner = _fields(value) if wire == 2 and (len(value) < _BLOB or number in (1, 7)) else None
    if inner and rng.random() < 0.8:
        fields[at] = (number, wire, _encode(_changed_fields(rng, inner)))
        return fields
    kind = rng.randrange(6)
    if kind == 0:
        del fields[at]
    elif kind == 1:
        fields.insert(at, fields[at])
    elif kind == 2:
        fields.insert(at, (rng.randrange(1, 26), 2, rng.choice(_TEXTS).encode("utf-8", "surrogatepass")))
    elif kind == 3:
        fields.insert(at, (rng.randrange(1, 26), 0, int(rng.choice(_NUMBERS[:17])) % 2**64))
    elif wire == 0:
        fields[at] = (number, wire, int(rng.choice(_NUMBERS[:17])) % 2**64)
    elif wire == 2:
        texts = [text.encode("utf-8", "surrogatepass") for text in _TEXTS]
        fields[at] = (number, wire, rng.choice((*texts, change_bytes(rng, value[:LONGEST]))))
    return fields


def _fields(data: bytes) -> list[tuple[int, int, Any]] | None:
    """The fields of a message; None: the bytes are no message."""
    fields: list[tuple[int, int, Any]] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number <= 2**29 or wire not in (0, 1, 2, 5):
            return None
        if wire == 0:
            value, at = _varint(data, at)
            fields.append((number, wire, value))
            continue
        size = {1: 8, 5: 4}.get(wire)
        if size is None:
            size, at = _varint(data, at)
        if at + size > len(data):
            return None
        fields.append((number, wire, data[at : at + size]))
        at += size
    return fields if at == len(data) else None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    return 0, len(data) + 1  # which is no end of a message


def _encode(fields: Sequence[tuple[int, int, Any]]) -> bytes:
    parts = []
    for number, wire, value in fields:
        parts.append(_to_varint(number << 3 | wire))
        if wire == 0:
            parts.append(_to_varint(value))
        else:
            parts += [_to_varint(len(value)), value] if wire == 2 else [value]
    return b"".join(parts)


def _to_varint(value: int) -> bytes:
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
    return bytes(content)
