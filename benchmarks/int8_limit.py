"""Compare the time of a bundle's int8 graph with the time of its 8-bit products alone, which is the limit.

    python benchmarks/int8_limit.py BUNDLE [--shapes 8x384,1x128] [--threads 2] [--rounds 9]

The limit is the time of ONNX Runtime's own MatMulInteger, unsigned by signed bytes, for every product of the int8
graph with weights, one after another and nothing else. Each runs in a process of its own, and they alternate;
medians over the rounds. OpenVINO takes part if it is installed, with int8-static and
int8-static-bf16 of the bundle.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qa_onnx import Bundle, Reader, Windower
from qa_onnx.bench.process import ContenderProcess
from qa_onnx.bench.protocol import own_stdout, serve
from qa_onnx.engines.names import Backend
from qa_onnx.engines.sessions import check_usable
from qa_onnx.errors import MissingExtraError
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Callable

ENGINES = {"int8": "onnxruntime", "int8-static": "openvino", "int8-static-bf16": "openvino"}  # of each precision
_BYTES = (2, 3)  # uint8 and int8, as ONNX numbers them
_EMBEDDINGS = ("QEmbedLayerNormalization", "Gather")  # look rows up in a table: no product


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--shapes", default="8x384,1x128", help="rows x tokens, by commas")
    parser.add_argument("--threads", type=int, default=cpu.default_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", choices=["products", *ENGINES], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve is None:
        compare(chosen)
        return
    out = own_stdout()
    if chosen.serve == "products":
        run = products(chosen.bundle, chosen.threads)
    else:
        run = whole(chosen.bundle, chosen.threads, chosen.serve)
    serve(out, lambda pairs: ["" for _ in pairs], run=run)


def compare(chosen: argparse.Namespace) -> None:
    """Measure all, alternating, and print a line for each shape and precision."""
    graphs = Bundle.load(chosen.bundle).manifest.graphs
    precisions = [precision for precision in ENGINES if precision in graphs and usable(precision)]
    command = [sys.executable, __file__, str(chosen.bundle), "--threads", str(chosen.threads), "--serve"]
    with ExitStack() as stack:
        runners = {
            name: stack.enter_context(ContenderProcess(name, [*command, name]))
            for name in ("products", *precisions)
        }
        for shape in chosen.shapes.split(","):
            rows, tokens = (int(number) for number in shape.split("x"))
            request = {"do": "run", "rows": rows, "tokens": tokens}
            times: dict[str, list[float]] = {name: [] for name in runners}
            for number in range(chosen.rounds + 1):
                for name in runners if number % 2 else reversed(runners):
                    seconds = runners[name].ask(request)["seconds"]
                    if number:  # the first warms up
                        times[name].append(seconds)
            for precision in precisions:
                run = statistics.median(times[precision])
                share = statistics.median(p / r for p, r in zip(times["products"], times[precision], strict=True))
                print(
                    f"{shape:>7} {precision:>16} in {ENGINES[precision]:11} {1000 * run:8.1f} ms, products alone "
                    f"{1000 * statistics.median(times['products']):8.1f} ms: {share:.0%} of the limit"
                )


def usable(precision: str) -> bool:
    """Return True if the precision's engine is installed."""
    try:
        check_usable(Backend.parse(f"{ENGINES[precision]}/cpu"))
    except MissingExtraError as error:
        print(error)
        return False
    return True


def weight_shapes(path: Path) -> list[tuple[int, int]]:
    """Return inputs and outputs of every product with 8-bit weights in a graph."""
    import onnx

    graph = onnx.load(path).graph
    matrices = {
        one.name: tuple(one.dims) for one in graph.initializer if one.data_type in _BYTES and len(one.dims) == 2
    }
    return [
        cast("tuple[int, int]", matrices[name])
        for node in graph.node
        if node.op_type not in _EMBEDDINGS
        for name in node.input
        if name in matrices
    ]


def products(bundle: Path, threads: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that runs only the products of the bundle's int8 graph."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    loaded = Bundle.load(bundle)
    shapes = weight_shapes(loaded.path / loaded.graph("int8").file.name)
    draw = np.random.default_rng(0)
    widths = sorted({inputs for inputs, _ in shapes})
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", [f"x{i}", f"w{n}"], [f"y{n}"]) for n, (i, _) in enumerate(shapes)],
        "products",
        [helper.make_tensor_value_info(f"x{width}", TensorProto.UINT8, ["tokens", width]) for width in widths],
        [
            helper.make_tensor_value_info(f"y{n}", TensorProto.INT32, ["tokens", o])
            for n, (_, o) in enumerate(shapes)
        ],
        [
            numpy_helper.from_array(draw.integers(-127, 128, size=shape, dtype=np.int8), f"w{n}")
            for n, shape in enumerate(shapes)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(request: dict[str, Any]) -> dict[str, Any]:
        tokens = request["rows"] * request["tokens"]
        inputs = {f"x{width}": draw.integers(0, 256, size=(tokens, width), dtype=np.uint8) for width in widths}
        started = time.perf_counter()
        session.run(None, inputs)
        return {"seconds": time.perf_counter() - started}

    return run


def whole(bundle: Path, threads: int, precision: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that runs the bundle's graph on a batch without padding."""
    loaded = Bundle.load(bundle)
    vocabulary = len(Windower(loaded.text(loaded.manifest.tokenizer)).vocabulary())
    reader = Reader.load(loaded, precision=precision, engine=cast("Any", ENGINES[precision]), threads=threads)
    session = reader.steps.session
    draw = np.random.default_rng(0)

    def run(request: dict[str, Any]) -> dict[str, Any]:
        shape = (request["rows"], request["tokens"])
        arrays = {"attention_mask": np.ones(shape, np.int64), "token_type_ids": np.zeros(shape, np.int64)}
        arrays["input_ids"] = draw.integers(vocabulary, size=shape)
        inputs = {name: arrays[name] for name in session.input_names}
        started = time.perf_counter()
        session.run(inputs)
        return {"seconds": time.perf_counter() - started}

    return run


if __name__ == "__main__":
    main()
