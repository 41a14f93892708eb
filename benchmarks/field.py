"""The contenders of benchmarks/rivals.py: PyTorch, the rivals of others.py in their environments, and qa-onnx.

checkpoint --> bundle, exports of the rivals --> contenders, each started once
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundles import exported
from environments import BUILD, RIVALS, ROOT, installed
from others import ALL, FIELD, LARGE, Rival

from qa_onnx import Bundle, EngineError
from qa_onnx.bench.compare import cpus_for
from qa_onnx.bench.contenders import Contender, list_contenders
from qa_onnx.bench.process import ContenderProcess
from qa_onnx.bench.runners import TURN
from qa_onnx.engines.names import missing_instructions
from qa_onnx.evaluation.sample_questions import ITEMS
from qa_onnx.export.texts import GOLDEN_EXAMPLES, PARITY_EXAMPLES
from qa_onnx.export.untrusted_files import files_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.data.squad import Gold

    Say = Callable[[str], None]

ARTICLE = ROOT / "examples" / "lighthouse.txt"
BATCH_SIZES = (1, 2, 4, 8)  # up to the questions of a turn
PRECISIONS = ("fp32", "bf16", "int8", "int8-static", "int8-static-bf16")
PRECISIONS_LARGE = ("fp32", "bf16", "int8")  # static int8 takes minutes to calibrate
_QUESTION = "What is said of the lighthouse and its tower?"


@dataclass(frozen=True)
class Shape:
    """A model on which all contenders are compared.

    Attributes:
        name: name of the model.
        checkpoint: its folder.
        race: one of `ALL`, `QUICK`, `BASE` and `LARGE`; all but the first have fewer contenders, to save time.
    """

    name: str
    checkpoint: Path
    race: str = ALL

    def takes(self, rival: Rival) -> bool:
        """Return True if the rival takes part."""
        return self.race == ALL or self.race in rival.also


def field(
    shape: Shape,
    golds: Sequence[Gold],
    *,
    only: Sequence[str] = (),
    threads: int,
    torch_index: str | None,
    say: Say,
) -> list[Contender]:
    """Return all contenders for a model. Each is started once, so that its caches exist.

    Args:
        shape: the model.
        golds: questions for choosing the best batch size.
        only: patterns of names, as of files; the base takes part in any case. Empty: all.
        threads: threads of each contender.
        torch_index: see environments.py.
        say: is called with each step.
    """
    calibration = calibration_file(BUILD / "calibration.jsonl")
    say(f"{shape.name}: qa-onnx export")
    bundle = Bundle.load(exported(shape.checkpoint, export_options(shape, calibration), read=[calibration]))
    torch, ours = _own(shape, bundle)

    def ready(one: Contender | Rival) -> Contender:
        if isinstance(one, Rival):
            return _started(one, shape, calibration, golds, threads=threads, torch_index=torch_index, say=say)
        return one if one.why_not else _tried(one, threads, say)

    base, *more = torch
    others: list[Contender | Rival] = [*more, *filter(shape.takes, FIELD), *ours]
    chosen = [one for one in others if not only or any(fnmatch(one.name, pattern) for pattern in only)]
    return [ready(one) for one in (base, *chosen)]


def _own(shape: Shape, bundle: Bundle) -> tuple[list[Contender], list[Contender]]:
    """Return the contenders that answer in this environment: PyTorch, and qa-onnx."""
    torch, ours = [], []
    for contender in list_contenders(bundle, precisions=None, against=str(shape.checkpoint), device="cpu"):
        if contender.name.startswith("PyTorch"):
            torch.append(contender)
        elif shape.race == ALL or contender.name != "int8-static, onnxruntime":
            ours.append(dataclasses.replace(contender, name=f"qa-onnx {contender.name}"))
    ours += [
        dataclasses.replace(ours[0], name=f"qa-onnx {precision}", why_not=missing_instructions(precision))
        for precision in precisions_of(shape)
        if precision not in bundle.manifest.graphs
    ]
    if shape.race == ALL:
        torch.append(_compiled(shape, torch[0]))
        ours.insert(0, _drop_in(bundle, ours[0]))
    return torch, ours


def calibration_file(path: Path) -> Path:
    """Write calibration data for static int8: questions on texts that the benchmark does not use."""
    texts = [part for part in ARTICLE.read_text(encoding="utf-8").split("\n\n") if len(part) > 200]
    pairs = [(example.question, example.context) for example in (*PARITY_EXAMPLES, *GOLDEN_EXAMPLES)]
    pairs += [(item.question, item.context) for item in ITEMS]
    pairs += [(_QUESTION, "\n\n".join(texts[at : at + 4])) for at in range(len(texts))]
    lines = [
        json.dumps({"question": question, "context": context, "answers": []}, ensure_ascii=False)
        for question, context in pairs
        if context
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def precisions_of(shape: Shape) -> tuple[str, ...]:
    """Return the precisions of qa-onnx that take part, on a CPU that has them."""
    return PRECISIONS_LARGE if shape.race == LARGE else PRECISIONS


def export_options(shape: Shape, calibration: Path) -> list[str]:
    """Return the options that export qa-onnx's bundle."""
    named = [
        word
        for precision in precisions_of(shape)
        if not missing_instructions(precision)
        for word in ("--precision", precision)
    ]
    return [*named, "--calibration-data", str(calibration)]


def _compiled(shape: Shape, eager: Contender) -> Contender:
    """Return PyTorch with torch.compile; its compiled code is cached."""
    torch = {"checkpoint": str(shape.checkpoint), "precision": "fp32", "compiled": True}
    command = partial(_compiled_command, torch, str(BUILD / "compiled"))
    return dataclasses.replace(eager, name="PyTorch fp32, torch.compile", command=command)


def _drop_in(bundle: Bundle, like: Contender) -> Contender:
    """Return qa-onnx's pipeline in the mode that gives the answers of transformers 4."""
    command = partial(_drop_in_command, {"model": str(bundle.path), "precision": "fp32", "compat": "hf4"})
    return dataclasses.replace(like, name="qa-onnx pipeline, compat hf4, fp32", command=command, own=False)


def _drop_in_command(arguments: dict[str, Any], threads: int) -> list[str]:
    return [sys.executable, str(RIVALS / "drop_in.py"), json.dumps({**arguments, "threads": threads})]


def _compiled_command(torch: dict[str, Any], cache: str, threads: int) -> list[str]:
    content = json.dumps({"torch": {**torch, "threads": threads}})
    kept = ["env", f"TORCHINDUCTOR_CACHE_DIR={cache}", "TORCHINDUCTOR_FX_GRAPH_CACHE=1"]
    return [*kept, sys.executable, "-m", "qa_onnx.bench.answerer", content]


def _started(
    rival: Rival,
    shape: Shape,
    calibration: Path,
    golds: Sequence[Gold],
    *,
    threads: int,
    torch_index: str | None,
    say: Say,
) -> Contender:
    say(f"{shape.name}: {rival.name}: environment")
    environment = installed(rival.environment, torch_index=torch_index)
    sources = [RIVALS / rival.script, RIVALS / rival.environment / "requirements.txt", calibration]
    made_of = files_sha256([*sources, shape.checkpoint / "model.safetensors"])[:12]
    cache = BUILD / rival.environment / f"{shape.name}-{made_of}"
    order = {
        "checkpoint": str(shape.checkpoint),
        "variant": rival.variant,
        "cache": str(cache),
        "calibration": str(calibration),
    }
    contender = Contender(
        name=rival.name,
        command=partial(_command, str(environment.python), str(RIVALS / rival.script), order),
        own=rival.in_reader,
        install_bytes=environment.bytes or None,
        why_not=environment.why_not,
    )
    if environment.why_not:
        return contender
    return _tried(contender, threads, say, model=cache, variant=rival.variant, golds=golds if rival.sweep else ())


def _command(python: str, script: str, order: dict[str, str], threads: int) -> list[str]:
    return [python, script, json.dumps({**order, "threads": threads})]


def _tried(
    contender: Contender,
    threads: int,
    say: Say,
    *,
    model: Path | None = None,
    variant: str = "",
    golds: Sequence[Gold] = (),
) -> Contender:
    """Start a contender once; return it with the error, its model's size and its best batch size."""
    say(f"{contender.name}: first start")
    item = ITEMS[0]
    try:
        with ContenderProcess(contender.name, contender.command(threads), cpus=cpus_for(threads)) as process:
            process.ask({"pairs": [(item.question, item.context)]})
            best = _best_batch(process, golds) if golds else None
    except EngineError as error:
        return dataclasses.replace(contender, why_not=str(error))
    if best is not None:
        contender = dataclasses.replace(
            contender, name=f"{contender.name} of {best}", options={"batch_size": best}
        )
    if model is not None:
        order = contender.command(threads)[-1]
        size = model_bytes(model, variant, Path(json.loads(order)["checkpoint"]))
        contender = dataclasses.replace(contender, model_bytes=size)
    return contender


def _best_batch(process: ContenderProcess, golds: Sequence[Gold]) -> int:
    """Return the fastest batch size, for questions as they will be timed."""
    calls = [
        [(gold.question, gold.context) for gold in golds[at : at + TURN]] for at in range(0, len(golds), TURN)
    ]

    def once(size: int) -> float:
        options = {"batch_size": size}
        return sum(sum(process.ask({"pairs": pairs, "options": options})["seconds"]) for pairs in calls)

    times = {size: statistics.median(once(size) for _ in range(3)) for size in BATCH_SIZES}
    return min(times, key=lambda size: times[size])


def model_bytes(cache: Path, variant: str, checkpoint: Path) -> int:
    """Return the bytes of the graph that a rival exported for a variant, or of the checkpoint's weights."""
    kinds = (".onnx", ".bin", ".xml", ".onnx_data", ".pt2")
    prefix = "static" if "static" in variant else "int8" if variant.startswith("int8") else "fp32"
    folders = [folder for folder in cache.glob(f"{prefix}*") if folder.is_dir()]
    graphs = sum(path.stat().st_size for folder in folders for path in folder.iterdir() if path.suffix in kinds)
    return graphs or sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
