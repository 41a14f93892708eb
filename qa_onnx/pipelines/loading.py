"""What the caller calls a model -> a Reader: a bundle, a checkpoint, objects of transformers, or a Reader.

Left out: the other arguments (settings.py), and the export of a checkpoint or of objects (export/cached.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qa_onnx.bundle.files import MANIFEST
from qa_onnx.bundle.folder import Bundle
from qa_onnx.engines.names import Backend
from qa_onnx.errors import InputError, quoted, warn_caller
from qa_onnx.reader import Reader

if TYPE_CHECKING:
    from qa_onnx.pipelines.settings import LoadSettings


def check_parts(model: Any, tokenizer: Any, config: Any) -> Any:
    """Refuse what is no model, and a tokenizer or config that does not fit it.

    Returns:
        The tokenizer, an object or a name, that replaces the model's own; None: the model keeps its own.

    Raises:
        InputError: with what to write instead.
    """
    if hasattr(model, "merge_and_unload"):
        raise InputError("model has an adapter (PEFT)", remedy="give model.merge_and_unload()")
    if hasattr(getattr(model, "module", None), "save_pretrained"):
        raise InputError(f"model is a {type(model).__name__} around a model", remedy="give model.module")
    saved, named = hasattr(model, "save_pretrained"), isinstance(model, (str, Path))
    if not (model is None or saved or named or isinstance(model, (Bundle, Reader))):
        raise InputError(
            f"model is a {type(model).__name__}; it must be the path of a bundle, the folder or hub id of a "
            "checkpoint, or a model object of transformers"
        )
    if isinstance(tokenizer, tuple):  # an old form: name and arguments
        tokenizer = tokenizer[0]
    if saved and tokenizer is None:
        raise InputError(
            "the tokenizer of a model object cannot be guessed",
            remedy="give tokenizer=AutoTokenizer.from_pretrained(...) beside it",
        )
    name = getattr(config, "name_or_path", None) or str(config)
    if config is not None and config is not getattr(model, "config", None) and name != str(model):
        raise InputError(
            f"config is {quoted(config)}; a model has its own",
            remedy="omit the argument, or give a model object that was made with it",
        )
    if tokenizer is None or str(tokenizer) == str(model):
        return None
    if not (isinstance(tokenizer, (str, Path)) or hasattr(tokenizer, "save_pretrained")):
        raise InputError(f"tokenizer is a {type(tokenizer).__name__}; it must be a name or one of transformers")
    if not (saved or named) or _is_bundle(model):
        raise InputError("a bundle has its own tokenizer", remedy="omit the argument tokenizer")
    return tokenizer


class Loaded(NamedTuple):
    """A reader; its bundle, None where a Reader was passed; and the name by which the caller knows the model."""

    reader: Reader
    bundle: Bundle | None
    name: str | None


def load_reader(model: Any, tokenizer: Any, settings: LoadSettings, *, exact: bool) -> Loaded:
    """Load the reader of a model; export a checkpoint, or objects, first.

    Args:
        model: see `pipeline`.
        tokenizer: as `check_parts` returns it.
        settings: of the reader.
        exact: where no precision is named, use fp32 of a bundle if it has it.

    Raises:
        QaOnnxError: see `pipeline`.
    """

    def load(path: str | Path | Bundle | None) -> Loaded:
        bundle = Bundle.load(path, require_signature=settings.require_signature)
        precision, device, engine = settings.precision, settings.device, settings.engine
        if precision is None and exact:
            precision = _exact(bundle, Backend(engine or "onnxruntime", device or "cpu"))
        reader = Reader.load(bundle, precision=precision, device=device, engine=engine, threads=settings.threads)
        named = str(model) if isinstance(model, (str, Path)) else getattr(model, "name_or_path", None)
        return Loaded(reader, bundle, named or bundle.manifest.source.name)

    if isinstance(model, Reader) and settings.require_signature is None:
        return Loaded(model, None, None)
    if model is None or isinstance(model, Bundle) or _is_bundle(model):
        return load(model)
    if settings.require_signature is not None:
        raise InputError(
            "require_signature needs a bundle, and model is none", remedy="a Reader takes it in Reader.load"
        )
    from qa_onnx.export.cached import load_cached, load_objects

    precision = "fp32" if settings.precision is None else settings.precision
    if tokenizer is not None:
        return load_objects(model, tokenizer, precision, load, download=settings.download)
    return load_cached(model, precision, load, download=settings.download)


def _is_bundle(model: object) -> bool:
    return isinstance(model, (str, Path)) and (Path(model).is_file() or Path(model, MANIFEST).is_file())


def _exact(bundle: Bundle, backend: Backend) -> str | None:
    """Return fp32 if the bundle has it for the backend; otherwise warn, and return None."""
    if "fp32" in bundle.precisions(backend):
        return "fp32"
    warn_caller(
        f"{bundle.path} holds {', '.join(bundle.manifest.graphs)}, so scores are not exactly those of the old "
        "pipeline: use a bundle with fp32, or name the precision to use",
        RuntimeWarning,
    )
    return None
