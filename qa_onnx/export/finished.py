"""A folder with a finished ONNX model -> what the exporter needs, without torch or transformers.

The folder is as optimum writes it: model.onnx, here or in onnx/, tokenizer.json, and where there are any
config.json, tokenizer_config.json and special_tokens_map.json.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from qa_onnx.batches import check_inputs
from qa_onnx.bundle.manifest import Source
from qa_onnx.errors import EngineError, ExportError
from qa_onnx.export.digest import files_sha256
from qa_onnx.export.graph import OUTPUTS, check_size, save
from qa_onnx.export.half_storage import restore
from qa_onnx.export.model import SourceModel

if TYPE_CHECKING:
    from pathlib import Path

_PLACES = ("model.onnx", "onnx/model.onnx")
# Kinds that count positions from the padding index on.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")
_JSON_LIMIT = 4 << 20  # bytes


def find_onnx(folder: Path) -> Path | None:
    """The finished model of a folder; None if it holds none, or holds weights for PyTorch as well."""
    if any(folder.glob("*.safetensors")):
        return None
    return next((folder / place for place in _PLACES if (folder / place).is_file()), None)


def load_finished(folder: Path, path: Path, target: Path) -> SourceModel:
    """Check a finished ONNX model and write it where the exporter works.

    Args:
        folder: with the tokenizer and the configuration.
        path: the ONNX file.
        target: the file to write.

    Raises:
        ExportError: it is not a float32 question answering graph, or a file is missing or damaged.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
        weights = _external_files(path, model)
        onnx.load_external_data_for_model(model, str(path.parent))  # refuses files outside of the folder
    except Exception as error:  # protobuf's, onnx's and the system's errors
        raise ExportError(f"{path} is not an ONNX model that can be read: {error}") from error
    restore(model)
    _check_graph(path, model)
    parameters = sum(_elements(tensor) for tensor in model.graph.initializer)
    check_size(str(path), parameters)
    save(model, target)
    tokenizer_path = folder / "tokenizer.json"
    if not tokenizer_path.is_file():
        raise ExportError(f"{folder} has no tokenizer.json, which must stand beside a finished ONNX model")
    try:
        tokenizer_json = tokenizer_path.read_text(encoding="utf-8")
        tokenizer = Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # tokenizers raises bare Exception
        raise ExportError(f"{tokenizer_path} cannot be read: {error}") from error
    config = _json(folder / "config.json")
    names = _json(folder / "special_tokens_map.json") | _json(folder / "tokenizer_config.json")
    pad_id = _token_id(tokenizer, names.get("pad_token"), config.get("pad_token_id"))
    model_type = str(config.get("model_type", "unknown"))
    positions = _int(config, "max_position_embeddings", default=512)
    if model_type in _OFFSET_POSITIONS:
        positions -= pad_id + 1
    return SourceModel(
        source=Source(folder.resolve().name, "onnx", None, files_sha256((path, *weights))),
        path=target,
        tokenizer_json=tokenizer_json,
        inputs=tuple(value.name for value in model.graph.input),
        pad_id=pad_id,
        cls_id=_token_id(tokenizer, names.get("cls_token"), names.get("bos_token")),
        max_positions=min(positions, _int(names, "model_max_length", default=positions)),
        model_type=model_type,
        layers=_int(config, "num_hidden_layers", "n_layers", default=0),
        heads=_int(config, "num_attention_heads", "n_heads", default=0),
        hidden_size=_int(config, "hidden_size", "dim", default=0),
        parameters=parameters,
    )


def _check_graph(path: Path, model: Any) -> None:
    import onnx

    outputs = [value.name for value in model.graph.output]
    if not set(OUTPUTS) <= set(outputs):
        raise ExportError(
            f"{path} gives {', '.join(outputs)}; a question answering model gives {', '.join(OUTPUTS)}"
        )
    try:
        check_inputs([value.name for value in model.graph.input])
    except EngineError as error:
        raise ExportError(f"{path}: {error}") from error
    quantized = {
        node.op_type for node in model.graph.node if "Quantize" in node.op_type or "Integer" in node.op_type
    }
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    if quantized or half:
        what = f"quantized already ({', '.join(sorted(quantized))})" if quantized else "in half precision"
        raise ExportError(f"{path} is {what}: give the float32 model, precisions are made from it")
    wrong = [
        value.name for value in model.graph.input if value.type.tensor_type.elem_type != onnx.TensorProto.INT64
    ]
    if wrong:
        raise ExportError(f"{path}: input {', '.join(wrong)} is not int64")


def _external_files(path: Path, model: Any) -> tuple[Path, ...]:
    """The files beside the model that hold its weights, if it does not hold them itself."""
    names = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return tuple(path.parent / name for name in sorted(names))


def _elements(tensor: Any) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return count


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes()) if path.stat().st_size <= _JSON_LIMIT else None
    except ValueError as error:
        raise ExportError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ExportError(f"{path} should be a JSON object of at most {_JSON_LIMIT} bytes")
    return content


def _int(content: dict[str, Any], *names: str, default: int) -> int:
    """The first of the fields that is a positive number."""
    for name in names:
        value = content.get(name)
        if isinstance(value, (int, float)) and 0 < value < float("inf"):
            return int(value)
    return default


def _token_id(tokenizer: Tokenizer, *candidates: object) -> int:
    """The first candidate that is a token's text, a record with one, or an id; 0 if none is."""
    for candidate in candidates:
        if isinstance(candidate, int):
            return candidate
        text = candidate.get("content") if isinstance(candidate, dict) else candidate
        found = tokenizer.token_to_id(text) if isinstance(text, str) else None
        if found is not None:
            return int(found)
    return 0
