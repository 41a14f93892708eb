"""A PyTorch model -> an ONNX graph, fused where ONNX Runtime knows how.

Fusion replaces the many small nodes of an attention layer with one node of ONNX Runtime's own domain
(com.microsoft), for its CPU and CUDA providers. ONNX Runtime's optimizer recognises the form that eager attention
and torch's TorchScript-based exporter give. It leaves other forms as they are and reports nothing, so the fused
nodes are counted here.

The residual sum of a layer and the norm after it stay two nodes if the opset has that norm: which way is faster
depends on the release of ONNX Runtime. It can fuse them into `SkipLayerNormalization` when it loads a graph (see
engines/onnx_cpu.py), for BERT, DistilBERT and ELECTRA. In other kinds it does not know that both summands have one
shape, so there they are fused for fp16 only.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import ExportError
from qa_onnx.session import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qa_onnx.export.model import SourceModel

DEFAULT_OPSET = 17
IR_VERSION = 10  # runtimes of 2024 read it; current onnx would write a newer one
LARGEST = (
    2_000_000_000  # bytes of weights in an ONNX file: protocol buffers end at 2 GiB, the graph needs room too
)

_FUSED_DOMAIN = "com.microsoft"
_NORM_OPSET = 17  # the first one that has LayerNormalization


@dataclass(frozen=True, slots=True)
class GraphFile:
    """The model's graph in some precision.

    Attributes:
        path: its ONNX file.
        fused_nodes: how many nodes of each com.microsoft operator it has.
        excluded_nodes: nodes that stayed in a higher precision.
        settings: how it was quantized.
    """

    path: Path
    fused_nodes: dict[str, int] = field(default_factory=dict)
    excluded_nodes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def to_onnx(model: Any, facts: SourceModel, *, opset: int = DEFAULT_OPSET) -> SourceModel:
    """Export to standard ONNX in float32, with dynamic batch and sequence axes.

    Args:
        model: the transformers model.
        facts: its description; its path is the file to write.
        opset: of the standard operators.

    Returns:
        The description with the inputs that the graph declares: torch drops inputs that the model does not use.

    Raises:
        ExportError: torch cannot export it.
    """
    import onnx
    import torch

    names = facts.inputs
    # Two different rows, with padding, so that nothing of this batch is exported as a constant.
    example = {
        "input_ids": torch.tensor([[facts.cls_id, *range(5, 15)], [facts.cls_id, *range(6, 16)]]),
        "attention_mask": torch.tensor([[1] * 11, [1] * 8 + [0] * 3]),
        "token_type_ids": torch.tensor([[0] * 5 + [1] * 6, [0] * 4 + [1] * 7]),
    }
    axes = {name: {0: "batch", 1: "sequence"} for name in (*names, *OUTPUTS)}
    try:
        # torch writes the weights of a large model into many files.
        with tempfile.TemporaryDirectory(dir=facts.path.parent) as folder, torch.inference_mode(), quiet():
            torch.onnx.export(
                _logits_module(model, names),
                tuple(example[name] for name in names),
                str(Path(folder, "model.onnx")),  # of a Path, torch does not take the folder
                input_names=list(names),
                output_names=list(OUTPUTS),
                dynamic_axes=axes,
                opset_version=opset,
                dynamo=False,
            )
            exported = onnx.load(Path(folder, "model.onnx"))
    except Exception as error:  # torch raises its own, TypeErrors, RuntimeErrors, ...
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise ExportError(f"torch cannot export {facts.source.name}: {reason}") from error
    save(exported, facts.path)
    return replace(facts, inputs=tuple(value.name for value in exported.graph.input))


def _logits_module(model: Any, names: tuple[str, ...]) -> Any:
    """Return a module that takes the named inputs in order and returns start and end logits."""
    import torch

    class Logits(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> tuple[Any, Any]:
            out = self.model(**dict(zip(names, values, strict=True)))
            return out.start_logits, out.end_logits

    # torch restores the mode of its argument after the export: a wrapper in training mode would switch on the
    # model's dropout, and later comparisons would fail.
    return Logits().eval()


def fuse(facts: SourceModel, target: Path) -> dict[str, int]:
    """Fuse layers with ONNX Runtime's transformer optimizer.

    Args:
        facts: description of the model; its path is a float32 graph.
        target: the file to write.

    Returns:
        How many nodes of each com.microsoft operator the graph has.

    Raises:
        ExportError: the optimizer cannot read the graph.
    """
    import onnx

    shape = facts.architecture
    optimized = _optimized(
        facts.path, name=facts.source.name, heads=shape["heads"], hidden_size=shape["hidden_size"]
    )
    nodes = fused_nodes(optimized)
    if nodes and all(entry.domain != _FUSED_DOMAIN for entry in optimized.opset_import):
        optimized.opset_import.append(onnx.helper.make_opsetid(_FUSED_DOMAIN, 1))
    save(optimized, target)
    return nodes


def fuse_norms(source: Path, target: Path) -> None:
    """Read a graph that `fuse` wrote, fuse each norm with the sum before it, and write the result.

    This is for precisions in which ONNX Runtime would not recognise them.

    Raises:
        ExportError: the optimizer cannot read the graph.
    """
    save(_optimized(source, name=source.name, with_norms=True), target)


def _optimized(path: Path, *, name: str, heads: int = 0, hidden_size: int = 0, with_norms: bool = False) -> Any:
    """Return the optimized ONNX model of a file; heads and hidden size 0 are detected from the graph."""
    import onnx
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    failure = ""
    with quiet():
        try:
            model = onnx.load(path, load_external_data=False)
            inputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in model.graph.input]
            options = FusionOptions("bert")
            options.enable_skip_layer_norm = with_norms or opset_of(model) < _NORM_OPSET
            options.enable_bias_skip_layer_norm = options.enable_skip_layer_norm
            del model
            optimized = optimizer.optimize_model(
                str(path),
                model_type="bert",
                num_heads=heads,
                hidden_size=hidden_size,
                optimization_options=options,
                opt_level=0,
            )
            optimized.topological_sort()
        except Exception as error:  # noqa: BLE001  # it fails with AssertionErrors, IndexErrors, ...
            failure = repr(error)  # not the error itself: its frames hold a temporary folder that warns at its end
    if failure:
        raise ExportError(f"ONNX Runtime's optimizer failed on {name}: {failure}")
    # The optimizer drops inputs that no node reads; all graphs of a bundle declare the same inputs.
    present = {value.name for value in optimized.model.graph.input}
    optimized.model.graph.input.extend(value for value in inputs if value.name not in present)
    return optimized.model


def fused_nodes(model: Any) -> dict[str, int]:
    """Count the nodes of each operator of ONNX Runtime's own domain in an ONNX model."""
    counts = Counter(node.op_type for node in model.graph.node if node.domain == _FUSED_DOMAIN)
    return dict(sorted(counts.items()))


def opset_of(model: Any) -> int:
    """Return the version of the standard operators of an ONNX model."""
    return max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=0)


def replace_all(field: Any, values: Iterable[Any]) -> None:
    """Put other values into a repeated field of an ONNX message."""
    values = list(values)
    del field[:]
    field.extend(values)


def save(model: Any, path: Path) -> None:
    """Write an ONNX model with an IR version that older runtimes read.

    Each MatMul, and each node that reads a weight, gets a unique name: names are optional in ONNX, but nodes are
    excluded from quantization by name. Weights that are too large for one file are written beside it, and leave
    the model.

    Args:
        model: an ONNX model, which is changed.
        path: the file to write; its weights may become `path` with ".data" behind.
    """
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if (node.op_type == "MatMul" or weights.intersection(node.input)) and (not node.name or node.name in seen):
            node.name = f"{node.op_type} {number}"
        seen.add(node.name)
    model.ir_version = min(model.ir_version, IR_VERSION)
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)  # onnx would append to it
    if is_large(model):
        onnx.save(model, path, save_as_external_data=True, location=data.name)
    else:
        onnx.save(model, path)


def is_large(model: Any) -> bool:
    """Tell whether a model's weights are too large for one file; see `save`."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LARGEST


def locations(model: Any) -> list[Any]:
    """Return the entries of an ONNX model that name the files beside it with its weights, one for each weight."""
    return [
        entry for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    ]


def data_file(path: Path) -> Path | None:
    """Return the file beside an ONNX file of `save` that holds its weights; None if they are in it."""
    import onnx

    names = {entry.value for entry in locations(onnx.load(path, load_external_data=False))}
    return path.with_name(names.pop()) if names else None


def name_data_file(path: Path, name: str) -> None:
    """Change the name of the file with the weights that an ONNX file tells of; the file itself stays as it is."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    for entry in locations(model):
        entry.value = name
    path.write_bytes(model.SerializeToString())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings and log lines of torch's and ONNX Runtime's tools, which users cannot act on."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    handlers = logging.root.handlers[:]  # a call of logging.info() in these tools would add one
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        logging.root.handlers[:] = handlers
