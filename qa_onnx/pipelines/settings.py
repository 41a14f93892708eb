"""Arguments of the old constructor -> what a Reader is loaded with, and the defaults of calls.

There are three kinds: those that `read_settings` reads (device, dtype, revision and others); those of `RULES`,
which change nothing, are ignored with a warning, or are refused with advice; and the fields of `Arguments`.
Nothing of torch or transformers is imported: a torch.dtype or torch.device is recognised by its text.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from qa_onnx.engines.names import Backend
from qa_onnx.engines.sessions import check_usable
from qa_onnx.errors import InputError, QaOnnxError, quoted, warn_caller
from qa_onnx.pipelines.inputs import Arguments

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.engines.names import Device, Engine


class Rule(NamedTuple):
    """What becomes of an old argument that no Reader has.

    Attributes:
        harmless: the values that change nothing, besides None; None: every value.
        why: other values are ignored or refused for this reason, with what to write instead.
        refused: whether other values are an error; else they are ignored with a warning.
    """

    harmless: tuple[object, ...] | None = None
    why: str = ""
    refused: bool = False


_PICKLES = "weights are read from safetensors only: load the model with transformers, and pass the model object"
_QUANTIZERS = "write precision='int8', which is made of the float32 weights"

RULES = {
    # How transformers ran the model.
    "framework": Rule(("pt",), "ONNX Runtime runs the weights of PyTorch"),
    "use_fast": Rule((True,), "the offsets of the fast tokenizer locate the answers"),
    **dict.fromkeys(("padding", "num_workers"), Rule()),
    # What had no effect on question answering.
    **dict.fromkeys(("modelcard", "args_parser", "binary_output", "code_revision", "_commit_hash"), Rule()),
    **dict.fromkeys(
        ("feature_extractor", "image_processor", "processor"),
        Rule((), "question answering on text has none, so omit it", refused=True),
    ),
    # How PyTorch held the weights.
    **dict.fromkeys(("low_cpu_mem_usage", "attn_implementation", "offload_folder", "max_memory"), Rule()),
    **dict.fromkeys(
        ("load_in_8bit", "load_in_4bit", "quantization_config"), Rule((False,), _QUANTIZERS, refused=True)
    ),
    # What runs code, or reads files that may hold code.
    "trust_remote_code": Rule((False,), "code of a checkpoint never runs here, so omit it", refused=True),
    "pipeline_class": Rule((), "put your own steps around the call of this pipeline", refused=True),
    "use_safetensors": Rule((True,), _PICKLES, refused=True),
    **dict.fromkeys(("from_tf", "from_flax"), Rule((False,), _PICKLES, refused=True)),
    "subfolder": Rule(("",), "download the repository, and give the path of the folder", refused=True),
}

_DOWNLOAD = ("revision", "token", "cache_dir", "local_files_only", "force_download")
_LOAD = ("device", "device_map", "dtype", "torch_dtype", "precision", "engine", "threads", "require_signature")
_DEFAULTS = {*(field.name for field in dataclasses.fields(Arguments)), "topk"}
# All keyword arguments beside model, tokenizer and task.
NAMES = {*_DOWNLOAD, *_LOAD, *_DEFAULTS, *RULES, "use_auth_token", "model_kwargs", "compat", "config"}

_AUTOMATIC = ("auto", "balanced", "balanced_low_0", "sequential")  # of device_map
# Types of PyTorch -> precision that computes in them; "": none does.
_DTYPES = {
    **dict.fromkeys(("float32", "float"), "fp32"),
    **dict.fromkeys(("float16", "half"), "fp16"),
    **dict.fromkeys(("bfloat16", "float64", "double"), ""),
}

# Names that this pipeline never had -> what to write instead.
_INSTEAD = {
    "truncation": "omit it: contexts of any length are read in windows",
    "max_length": "write max_seq_len",
    "stride": "write doc_stride",
    **dict.fromkeys(("n_best", "n_best_size", "num_answers", "k"), "write top_k"),
    "null_threshold": "write handle_impossible_answer=True; Reader takes thresholds",
    "return_tensors": "omit it: results are dictionaries; Reader.logits yields arrays",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """What a Reader is loaded with.

    Attributes:
        device: see `Reader.load`.
        precision: see `Reader.load`.
        exact: whether the dtype is float32: fp32 is used if the bundle has it.
        engine: see `Reader.load`.
        threads: see `Reader.load`.
        require_signature: see `Reader.load`.
        download: arguments of huggingface_hub's `snapshot_download`.
        named: names of the arguments that a Reader that is already loaded cannot follow.
    """

    device: Device | None = None
    precision: str | None = None
    exact: bool = False
    engine: Engine | None = None
    threads: int | None = None
    require_signature: str | Path | bytes | None = None
    download: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    named: tuple[str, ...] = ()


def read_settings(arguments: Mapping[str, Any]) -> tuple[LoadSettings, Arguments, list[str]]:
    """Read the arguments of the old constructor; None is as if it were absent.

    Returns:
        What to load with, the defaults of calls, and what is ignored, each with the reason.

    Raises:
        InputError: an argument is refused, or has a value that it cannot have.
        TypeError: there is no such argument.
    """
    values = _with_model_kwargs(arguments)
    ignored = _apply_rules(values)
    named = tuple(name for name in _LOAD if name in values)
    device = _device("device", values.get("device"))
    if device is None:
        device = _mapped_device(values.get("device_map"), values.get("engine"))
    dtype = values.pop("dtype", values.pop("torch_dtype", None))
    precision, wanted = values.get("precision"), _precision_of(dtype)
    if precision is None and wanted == "fp16" and device == "cuda":
        precision = wanted
    if wanted not in (None, precision) and (precision is not None or wanted != "fp32"):
        ignored.append(f"dtype={dtype} (precision= chooses the type; 'int8' is the fast one on a CPU)")
    token = values.pop("use_auth_token", None)
    download = {name: values[name] for name in _DOWNLOAD if name in values}
    settings = LoadSettings(
        device=device,
        precision=precision,
        exact=precision is None and wanted == "fp32",
        engine=values.get("engine"),
        threads=values.get("threads"),
        require_signature=values.get("require_signature"),
        download=download if token is None else {"token": token, **download},
        named=named,
    )
    defaults = {name: value for name, value in values.items() if name not in (*_DOWNLOAD, *_LOAD)}
    return settings, override(Arguments(), defaults), ignored


def _with_model_kwargs(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments, and those in `model_kwargs`, that are not None."""
    inner = arguments.get("model_kwargs")
    if not isinstance(inner, (Mapping, type(None))):
        raise InputError(f"model_kwargs is {quoted(inner)}; it must be a dictionary")
    values = {name: value for name, value in arguments.items() if value is not None and name != "model_kwargs"}
    for name, value in (inner or {}).items():
        if values.setdefault(name, value) != value:
            raise InputError(f"{name} is given twice, as an argument and in model_kwargs", remedy="name it once")
    for name in ("dtype", "torch_dtype"):
        if str(values.get(name)) == "auto":
            del values[name]
    return {name: value for name, value in values.items() if value is not None}


def _apply_rules(values: dict[str, Any]) -> list[str]:
    """Remove the arguments of `RULES`; return those that are ignored, each with the reason."""
    ignored = []
    for name in sorted(RULES.keys() & values.keys()):
        rule, value = RULES[name], values.pop(name)
        if rule.harmless is None or value in rule.harmless:
            continue
        if rule.refused:
            raise InputError(f"{name} cannot be {quoted(value)}", remedy=rule.why)
        ignored.append(f"{name}={quoted(value)} ({rule.why})")
    return ignored


def _device(name: str, value: object) -> Device | None:
    """Return the device that an old value means; None for None, which is the default of `Reader.load`."""
    if value is None:
        return None
    text = str(value)
    if text in ("cuda", "cuda:0", "0"):
        return "cuda"
    if text not in ("cpu", "-1"):
        raise InputError(
            f"{name} is {quoted(value)}; it must be 'cpu', -1, 'cuda' or 0 (CUDA_VISIBLE_DEVICES selects a GPU)"
        )
    return "cpu"


def _mapped_device(device_map: object, engine: Engine | None) -> Device | None:
    """Return the one device of a device_map; where it is automatic, the GPU if there is one that works."""
    if isinstance(device_map, Mapping):
        places = {str(place): place for place in device_map.values()}
        if len(places) != 1:
            raise InputError(
                f"device_map spreads the model over {', '.join(places) or 'nothing'}", remedy="give one device="
            )
        [device_map] = places.values()
    if not isinstance(device_map, str) or device_map not in _AUTOMATIC:
        return _device("device_map", device_map)
    try:
        check_usable(Backend("onnxruntime" if engine is None else engine, "cuda"))
    except QaOnnxError:
        return None
    return "cuda"


def _precision_of(dtype: object) -> str | None:
    """Return the precision that computes in a type of PyTorch; "" if there is none, None for None."""
    name = str(dtype).removeprefix("torch.")
    if dtype is not None and name not in _DTYPES:
        raise InputError(
            f"dtype is {quoted(dtype)}; it must be 'auto', a torch.dtype, or its name: {', '.join(_DTYPES)}",
            remedy="other types are chosen by precision=, such as 'int8'",
        )
    return _DTYPES.get(name)


def override(base: Arguments, changes: Mapping[str, Any]) -> Arguments:
    """Return the arguments of a call with all changes that are not None.

    Raises:
        InputError: a value is out of range.
        TypeError: there is no such argument.
    """
    new = {name: value for name, value in changes.items() if value is not None}
    for name in new.keys() - _DEFAULTS:
        raise TypeError(f"there is no argument {name}: {_advice(name)}")
    if "topk" in new:
        warn_caller("topk parameter is deprecated, use top_k instead", UserWarning)
        new.setdefault("top_k", new["topk"])
        del new["topk"]
    return dataclasses.replace(base, **new)


def _advice(name: str) -> str:
    """Return what to write instead of an argument that does not exist."""
    if name in _INSTEAD:
        return _INSTEAD[name]
    if name in NAMES:
        return "it is one of pipeline(...), not of a call"
    near = difflib.get_close_matches(name, NAMES | {"question", "context"}, n=1)
    return f"did you mean {near[0]}?" if near else f"a call takes {', '.join(sorted(_DEFAULTS))}"
