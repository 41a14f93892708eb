"""A PyTorch model -> an ONNX graph, fused where ONNX Runtime knows how.

Fusion replaces the many small nodes of an attention layer by one node of ONNX Runtime's own (com.microsoft),
for its CPU and CUDA providers. It recognises the form that eager attention and torch's TorchScript-based
exporter give; other forms stay as they are, silently, which is why the fused nodes are counted here.

The sum of a layer's input and output and the norm of it stay two nodes where the opset has that norm: which way is
faster depends on the release of ONNX Runtime, and it fuses them itself when it loads a graph
(`SkipLayerNormalization`), unless told not to (session.py). That is for BERT, DistilBERT and ELECTRA. Of others
it does not know that what is added has one shape, so that they stay two on a GPU as well, but for fp16.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qa_onnx.export.model import SourceModel

OUTPUTS = ("start_logits", "end_logits")
DEFAULT_OPSET = 17
# 10 is what the runtimes of 2024 read; current onnx would write a newer one.
IR_VERSION = 10
# Protocol buffers end at 2 GiB; the headroom is for the graph itself.
_LARGEST = 2_100_000_000  # bytes

_FUSED_DOMAIN = "com.microsoft"
_NORM_OPSET = 17  # the first one that has LayerNormalization


@dataclass(frozen=True, slots=True)
class Fusion:
    """What the optimizer made of a graph.

    Attributes:
        nodes: how many nodes of each com.microsoft operator the graph has.
        missing: how each expected count was missed, in words; empty when all is as it should be.
    """

    nodes: dict[str, int]
    missing: tuple[str, ...]


def to_onnx(model: Any, facts: SourceModel, *, opset: int = DEFAULT_OPSET) -> SourceModel:
    """Export to standard ONNX in float32, with dynamic batch and sequence axes.

    Args:
        model: the transformers model.
        facts: what is known of it; its path is the file to write.
        opset: of the standard operators.

    Returns:
        The facts with the inputs that the graph declares. A model may take an input and not use it; the
        exporter drops such ones.

    Raises:
        ExportError: torch cannot trace it, or it is larger than an ONNX file can be.
    """
    import onnx
    import torch

    check_size(facts.source.name, facts.parameters)
    names = facts.inputs
    # Two unlike rows with padding, so that nothing of this one batch is taken for a constant.
    example = {
        "input_ids": torch.tensor([[facts.cls_id, *range(5, 15)], [facts.cls_id, *range(6, 16)]]),
        "attention_mask": torch.tensor([[1] * 11, [1] * 8 + [0] * 3]),
        "token_type_ids": torch.tensor([[0] * 5 + [1] * 6, [0] * 4 + [1] * 7]),
    }
    axes = {name: {0: "batch", 1: "sequence"} for name in (*names, *OUTPUTS)}
    try:
        with torch.inference_mode(), quiet():
            torch.onnx.export(
                _logits_module(model, names),
                tuple(example[name] for name in names),
                facts.path,
                input_names=list(names),
                output_names=list(OUTPUTS),
                dynamic_axes=axes,
                opset_version=opset,
                dynamo=False,
            )
    except Exception as error:  # torch raises its own, TypeErrors, RuntimeErrors, ...
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise ExportError(f"torch cannot export {facts.source.name}: {reason}") from error
    exported = onnx.load(facts.path)
    if exported.ir_version > IR_VERSION:
        save(exported, facts.path)
    return replace(facts, inputs=tuple(value.name for value in exported.graph.input))


def check_size(name: str, parameters: int) -> None:
    """Refuse a model that is larger than an ONNX file can be.

    Raises:
        ExportError: it is.
    """
    size = 4 * parameters
    if size > _LARGEST:
        raise ExportError(
            f"{name} has {parameters / 1e6:.0f} million weights, {size / 1e9:.1f} GB as float32; a file in the "
            "ONNX format ends at 2 GB"
        )


def _logits_module(model: Any, names: tuple[str, ...]) -> Any:
    """A module that takes the named inputs in order and returns start and end logits."""
    import torch

    class Logits(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> tuple[Any, Any]:
            out = self.model(**dict(zip(names, values, strict=True)))
            return out.start_logits, out.end_logits

    # The exporter puts its argument's mode back when it is done: a wrapper in training mode would switch the
    # model's dropout on for whatever is compared with it afterwards.
    return Logits().eval()


def fuse(facts: SourceModel, target: Path) -> Fusion:
    """Let ONNX Runtime's transformer optimizer fuse what it recognises.

    Args:
        facts: of the model; its path is a float32 graph.
        target: the file to write.

    Raises:
        ExportError: the optimizer cannot read the graph.
    """
    import onnx

    optimized = _optimized(facts.path, name=facts.source.name, heads=facts.heads, hidden_size=facts.hidden_size)
    nodes = fused_nodes(optimized)
    if nodes and all(entry.domain != _FUSED_DOMAIN for entry in optimized.opset_import):
        optimized.opset_import.append(onnx.helper.make_opsetid(_FUSED_DOMAIN, 1))
    save(optimized, target)
    wanted, found = max(1, facts.layers), nodes.get("Attention", 0)
    return Fusion(nodes, (f"{found} of {wanted} Attention",) if found < wanted else ())


def fuse_norms(source: Path, target: Path) -> None:
    """Fuse each norm with the sum before it, for precisions that ONNX Runtime would not recognise it in.

    Args:
        source: a graph that `fuse` wrote.
        target: the file to write.

    Raises:
        ExportError: the optimizer cannot read the graph.
    """
    save(_optimized(source, name=source.name, with_norms=True), target)


def _optimized(path: Path, *, name: str, heads: int = 0, hidden_size: int = 0, with_norms: bool = False) -> Any:
    """The ONNX model that the optimizer makes of one, whose heads and width it looks for where they are 0."""
    import onnx
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    options = FusionOptions("bert")
    failure = ""
    with quiet():
        try:
            given = onnx.load(path, load_external_data=False)
            inputs = [value.SerializeToString() for value in given.graph.input]  # apart from what is let go of
            opset = max(entry.version for entry in given.opset_import if entry.domain in {"", "ai.onnx"})
            del given
            gc.collect()  # and the copies of an earlier run, which hold themselves in cycles
            options.enable_skip_layer_norm = with_norms or opset < _NORM_OPSET
            options.enable_bias_skip_layer_norm = options.enable_skip_layer_norm
            optimized = optimizer.optimize_model(
                str(path),
                model_type="bert",
                num_heads=heads,
                hidden_size=hidden_size,
                optimization_options=options,
                opt_level=0,
            )
            optimized.topological_sort()
        except Exception as error:  # noqa: BLE001  # it asserts and indexes where a graph surprises it
            failure = repr(error)  # without its frames, which hold a temporary folder that warns when it goes
    if failure:
        raise ExportError(f"ONNX Runtime's optimizer failed on {name}: {failure}")
    # It drops an input that no node reads; the graphs of a bundle declare the same.
    kept = {value.name for value in optimized.model.graph.input}
    declared = [onnx.ValueInfoProto.FromString(value) for value in inputs]
    optimized.model.graph.input.extend(value for value in declared if value.name not in kept)
    return optimized.model


def fused_nodes(model: Any) -> dict[str, int]:
    """How many nodes of each operator of ONNX Runtime's own domain an ONNX model has."""
    found = Counter(node.op_type for node in model.graph.node if node.domain == _FUSED_DOMAIN)
    return dict(sorted(found.items()))


def save(model: Any, path: Path) -> None:
    """Write an ONNX model so that runtimes of some years read it.

    Each node that reads a weight gets a name of its own: names are optional in ONNX, but nodes are kept back in a
    higher precision by them.
    """
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if weights.intersection(node.input) and (not node.name or node.name in seen):
            node.name = f"{node.op_type} {number}"
        seen.add(node.name)
    model.ir_version = min(model.ir_version, IR_VERSION)
    onnx.save(model, path)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings and log lines of torch's and ONNX Runtime's tools, which the user cannot act on."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    handlers = logging.root.handlers[:]  # their calls of logging.info() and the like would set one up
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        logging.root.handlers[:] = handlers
