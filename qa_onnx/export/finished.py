"""A folder with a finished ONNX model -> a SourceModel, without torch or transformers.

The folder has the layout of optimum: model.onnx, in the folder or in onnx/, tokenizer.json, and optionally
config.json, tokenizer_config.json and special_tokens_map.json.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_onnx.bundle.manifest import Source
from qa_onnx.engines.graph_source import read_graph
from qa_onnx.errors import EngineError, ExportError
from qa_onnx.export.graph import save
from qa_onnx.export.half_storage import restore
from qa_onnx.export.model import SourceModel, make_windower
from qa_onnx.export.tokenizer_check import TOKENIZER, read_tokenizer, warn
from qa_onnx.export.untrusted_files import (
    TEXT_LIMIT,
    check_entries,
    files_sha256,
    json_object,
    read_bytes,
    real_file,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tokenizers import Tokenizer

_ONNX_NAMES = ("model", "model_optimized", "model_fp16", "model_quantized")  # optimum's; the last two are refused
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")  # count positions from the padding index on
_JSON_LIMIT = 4 << 20  # bytes


@dataclass(frozen=True, slots=True)
class FinishedModel:
    """A folder with tokenizer and configuration, and the path of its ONNX file."""

    folder: Path
    path: Path


def find_finished(folder: Path) -> FinishedModel | None:
    """Return the finished model of a folder; None if there is none, or weights for PyTorch as well.

    Raises:
        ExportError: something in the folder is neither a file nor a folder nor a link.
    """
    if any(folder.glob("*.safetensors")):
        return None
    files = (folder / inner / f"{name}.onnx" for name in _ONNX_NAMES for inner in ("", "onnx"))
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        return None
    check_entries(folder)
    return FinishedModel(folder, path)


def load_finished(finished: FinishedModel, target: Path) -> SourceModel:
    """Check a finished ONNX model and write it where the exporter works.

    Args:
        finished: the model.
        target: the file to write.

    Raises:
        ExportError: it is not a float32 question answering graph, or a file is missing or damaged.
    """
    folder, path = finished.folder, finished.path
    model, files = _load_onnx(path)
    restore(model)
    _check_precision(path, model)
    parameters = sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
    save(model, target)
    data = read_bytes(folder / TOKENIZER, TEXT_LIMIT)
    if data is None:
        raise ExportError(f"{folder} has no tokenizer.json, which must be beside a finished ONNX model")
    tokenizer_json, tokenizer = read_tokenizer(folder / TOKENIZER, data)
    warn(str(folder), tokenizer_json, tokenizer, None)
    config = _json(folder / "config.json")
    names = _json(folder / "special_tokens_map.json") | _json(folder / "tokenizer_config.json")
    pad_id = _token_id(tokenizer, names.get("pad_token"), config.get("pad_token_id"))
    model_type = str(config.get("model_type", "unknown"))
    positions = _int(config, "max_position_embeddings", default=512)
    if model_type in _OFFSET_POSITIONS:
        positions -= pad_id + 1
    name = folder.resolve().name
    cls_id = _token_id(tokenizer, names.get("cls_token"), names.get("bos_token"))
    return SourceModel(
        source=Source(name, "onnx", None, files_sha256(files)),
        path=target,
        tokenizer_json=tokenizer_json,
        windower=make_windower(name, tokenizer_json, cls_id),
        inputs=tuple(value.name for value in model.graph.input),
        pad_id=pad_id,
        cls_id=cls_id,
        max_positions=min(positions, _int(names, "model_max_length", default=positions)),
        architecture={
            "model_type": model_type,
            "layers": _int(config, "num_hidden_layers", "n_layers", default=0),
            "heads": _int(config, "num_attention_heads", "n_heads", default=0),
            "hidden_size": _int(config, "hidden_size", "dim", default=0),
            "parameters": parameters,
        },
    )


def _load_onnx(path: Path) -> tuple[Any, list[Path]]:
    """Load an ONNX model, and return it with the files that hold it and its weights."""
    import onnx

    if real_file(path) is None:
        raise ExportError(f"{path} does not exist any more")
    try:
        data, beside = read_graph(path)
        model = onnx.load_from_string(data)
        _load_weights(model, {name: real_file(path.parent / name) or path.parent / name for name in beside})
    except EngineError as error:
        raise ExportError(error.problem, remedy=error.remedy) from error
    except ExportError:
        raise
    except Exception as error:  # protobuf's, onnx's and the system's errors
        raise ExportError(f"{path} is not an ONNX model that can be read: {error}") from error
    return model, [path, *(path.parent / name for name in sorted(beside))]


def _load_weights(model: Any, files: Mapping[str, Path]) -> None:
    """Load the weights that are in files beside an ONNX model, by their names; links are resolved.

    onnx itself follows no link, and the hub's cache consists of links.
    """
    from onnx.external_data_helper import load_external_data_for_tensor

    for tensor in model.graph.initializer:  # graph_rules.py allows no others
        place = next((entry for entry in tensor.external_data if entry.key == "location"), None)
        if place is not None:
            file, place.value = files[place.value], files[place.value].name
            load_external_data_for_tensor(tensor, str(file.parent))
            tensor.data_location = tensor.DEFAULT
            del tensor.external_data[:]


def _check_precision(path: Path, model: Any) -> None:
    """Refuse a graph that is not in float32."""
    import onnx

    operators = {node.op_type for node in model.graph.node}
    quantized = sorted(name for name in operators if "Quantize" in name or "Integer" in name)
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    if quantized or half:
        state = f"quantized already ({', '.join(quantized)})" if quantized else "in half precision"
        raise ExportError(f"{path} is {state}", remedy="give the float32 model; precisions are made from it")


def _json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; empty if there is no such file."""
    data = read_bytes(path, _JSON_LIMIT)
    return {} if data is None else json_object(path, data)


def _int(content: dict[str, Any], *names: str, default: int) -> int:
    """Return the first of the fields that is a positive number."""
    for name in names:
        value = content.get(name)
        if isinstance(value, (int, float)) and 0 < value < float("inf"):
            return int(value)
    return default


def _token_id(tokenizer: Tokenizer, *candidates: object) -> int:
    """Return the id of the first candidate that is an id, a token's text or a record with one; 0 if none is."""
    for candidate in candidates:
        if isinstance(candidate, int):
            return candidate
        text = candidate.get("content") if isinstance(candidate, dict) else candidate
        token_id = tokenizer.token_to_id(text) if isinstance(text, str) else None
        if token_id is not None:
            return int(token_id)
    return 0
