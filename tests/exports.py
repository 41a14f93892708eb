"""Tiny checkpoints and their bundles, each made once in a run, and what the exporter's tests do with them."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx import Bundle
from tests import tiny

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from qa_onnx.export.model import SourceModel

# One of each sort: accents, byte-level trouble, longer than a window of the tiny models, a single word.
PAIRS = (
    ("Who keeps the bees?", "Nobody does."),
    ("Où est née Élodie?", "Élodie Ångström naquit à Besançon 🏔️; sa sœur Zoë, à Łódź. 🎻 Elle y joue du violon."),
    ("Which instrument is kept in the tower?", "The tower holds a carillon of 23 bells, cast in 1641 🔔🔔. " * 6),
    ("How?", "Slowly"),
    ("What grows on the dunes, and who planted it?", "Marram grass, set by hand by pupils of Ameland in 1952."),
)


@dataclass(frozen=True)
class Exported:
    """A tiny checkpoint, its bundle of fp32 and int8, and what the exporter warned of."""

    checkpoint: Path
    bundle: Bundle
    warnings: tuple[str, ...]


@functools.cache
def scratch() -> Path:
    """A folder for the whole run."""
    folder = tempfile.mkdtemp(prefix="qa-onnx-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@functools.cache
def checkpoint(kind: str) -> Path:
    """The tiny checkpoint of a kind; not to be changed, see `copy`."""
    import torch

    torch.set_num_threads(1)  # more gain nothing on these sizes, and wait for each other on a busy machine
    return tiny.make_checkpoint(kind, scratch() / f"tiny-{kind}")


@functools.cache
def exported(kind: str) -> Exported:
    """The bundle of a kind's checkpoint; not to be changed, see `copy`."""
    from qa_onnx.export import export

    records = _Records()
    logger = logging.getLogger("qa_onnx")
    logger.addHandler(records)
    try:
        bundle = export(checkpoint(kind), scratch() / f"bundle-{kind}", precisions=("fp32", "int8"))
    finally:
        logger.removeHandler(records)
    return Exported(checkpoint(kind), bundle, tuple(records.messages))


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def open_and_load(folder: Path | str, target: Path = Path("unused.onnx")) -> tuple[Any, SourceModel]:
    """A checkpoint as the exporter loads it."""
    from qa_onnx.export.checkpoint import load_checkpoint
    from qa_onnx.export.opened import open_checkpoint

    opened = open_checkpoint(folder)
    with opened.staged() as stage:
        return load_checkpoint(opened, stage, target)


def copy(folder: Path, to: Path) -> Path:
    """A copy of a folder, to change."""
    return Path(shutil.copytree(folder, to))


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite a JSON file after `change` edited its content."""
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def snapshot(folder: Path) -> dict[str, str]:
    """Every file under a folder with its SHA-256, and every folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def check_files(folder: Path) -> Bundle:
    """Load a bundle and check the hashes of all its files."""
    bundle = Bundle.load(folder)
    for entry in bundle.manifest.files():
        bundle.check(entry)
    return bundle


def graph_path(bundle: Bundle, precision: str) -> Path:
    """The ONNX file of a precision."""
    return bundle.path / bundle.graph(precision).file.name


def run_onnx(path: Path, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    """Start and end logits, float32 (2, B, T), of an ONNX file, by ONNX Runtime itself."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return np.stack(session.run(["start_logits", "end_logits"], {name: inputs[name] for name in names}))


def run_torch(model: Any, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    """Start and end logits, float32 (2, B, T), of a transformers model, fed all that its forward takes."""
    import inspect

    import torch

    taken = inspect.signature(model.forward).parameters
    with torch.no_grad():
        out = model(**{name: torch.from_numpy(array) for name, array in inputs.items() if name in taken})
    return np.stack((out.start_logits.numpy(), out.end_logits.numpy()))


def logits(of: Any, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    """Start and end logits, float32 (2, tokens), of an ONNX file, a checkpoint's folder or a transformers model.

    Padding is left out.
    """
    if isinstance(of, Path) and of.is_dir():
        of = load_torch(of)
    run = run_onnx if isinstance(of, Path) else run_torch
    return run(of, batch)[:, batch["attention_mask"] == 1]


def difference(one: Any, other: Any, batch: dict[str, NDArray[np.int64]]) -> float:
    """The largest difference of the logits of two models; see `logits`."""
    return float(abs(logits(one, batch) - logits(other, batch)).max())


def edit_onnx(source: Path, change: Callable[[Any], object], target: Path | None = None) -> Path:
    """Rewrite an ONNX file, or write another one, after `change` edited the model."""
    import onnx

    model = onnx.load(source)
    change(model)
    onnx.save(model, target or source)
    return target or source


def weight(model: Any, name: str) -> NDArray[np.float32]:
    """A copy of a weight of an ONNX model."""
    import onnx

    return np.array(onnx.numpy_helper.to_array(next(one for one in model.graph.initializer if one.name == name)))


def set_weight(model: Any, name: str, array: NDArray[np.float32]) -> None:
    """Replace a weight of an ONNX model."""
    import onnx

    value = next(one for one in model.graph.initializer if one.name == name)
    value.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), name))


def load_torch(folder: Path, **options: Any) -> Any:
    """The model of a checkpoint as transformers loads it, in float32."""
    import torch
    from transformers import AutoModelForQuestionAnswering

    model = AutoModelForQuestionAnswering.from_pretrained(folder, dtype=torch.float32, **options)
    return model.eval()


def ragged_batch(folder: Path, max_length: int = 64) -> dict[str, NDArray[np.int64]]:
    """`PAIRS` as transformers' own tokenizer cuts and pads them: int64 (B, T) under each name."""
    from transformers import AutoTokenizer

    questions, contexts = map(list, zip(*PAIRS, strict=True))
    encoded = AutoTokenizer.from_pretrained(folder)(
        questions,
        contexts,
        truncation="only_second",
        max_length=max_length,
        stride=12,
        padding=True,
        return_overflowing_tokens=True,
        return_token_type_ids=json.loads((folder / "config.json").read_bytes()).get("type_vocab_size", 0) > 1,
        return_attention_mask=True,
        return_tensors="np",
    )
    encoded.pop("overflow_to_sample_mapping")
    return dict(encoded)


def without_tokenizer_json(folder: Path, to: Path) -> Path:
    """A copy of a checkpoint with WordPiece, as BERT's authors published theirs: a vocabulary alone."""
    folder = copy(folder, to)
    vocabulary = json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.get)))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 128}')
    return folder
