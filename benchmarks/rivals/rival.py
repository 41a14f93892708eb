"""What the runners of other projects share. It runs in their environments, which do not have qa_onnx.

A runner takes JSON in its only argument: `checkpoint`, a folder; `variant`, which each names for itself;
`threads`; `cache`, a folder in which what it exports is kept for the next start; `calibration`, a JSON lines file
of questions and contexts.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

# At the end: names of this project's modules must not hide those of the rivals.
sys.path.append(str(Path(__file__).parents[2] / "qa_onnx" / "bench"))
from protocol import own_stdout, say, serve  # type: ignore[import-not-found]  # mypy does not see that path

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ANSWER_LENGTH = 30
_PACKAGES = (
    "transformers", "torch", "onnxruntime", "optimum-onnx", "optimum-intel", "openvino", "nncf", "haystack-ai",
    "transformers-haystack", "torchao", "ctranslate2",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """What a runner is asked to be."""

    checkpoint: str
    variant: str
    threads: int
    cache: str
    calibration: str

    def kept(self, name: str, make: Callable[[Path], None]) -> Path:
        """The folder of this name in the cache; made if it is not there, whole or not at all."""
        folder = Path(self.cache) / name
        if not folder.is_dir():
            partial = folder.with_name(f"{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            make(partial)
            partial.rename(folder)
        return folder

    def calibration_pairs(self) -> list[tuple[str, str]]:
        """Questions and contexts to calibrate on."""
        lines = Path(self.calibration).read_text(encoding="utf-8").splitlines()
        return [(item["question"], item["context"]) for item in map(json.loads, lines)]


@dataclass(frozen=True)
class Started:
    """A contender that is ready.

    Attributes:
        answer: takes pairs of question and context, and options by name; returns a text for each.
        facts: what is worth knowing of it.
        before: clears its caches; called before each timed call.
        handlers: see `protocol.serve`.
    """

    answer: Callable[..., list[str]]
    facts: dict[str, Any]
    before: Callable[[], None] = lambda: None
    handlers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)


def run(start: Callable[[Order], Started]) -> None:
    """Be a contender: load it with `start`, then answer requests."""
    out = own_stdout()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        ready = start(Order(**json.loads(sys.argv[1])))
    except Exception as error:  # whatever it is, that is why it cannot be compared
        say(out, error=f"{type(error).__name__}: {error}")
        raise
    facts = {"versions": versions(), **ready.facts}
    serve(out, ready.answer, facts=facts, before=ready.before, **ready.handlers)


def versions() -> dict[str, str]:
    """What is installed of the packages that matter."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def torch_threads(threads: int) -> int:
    """Set the threads of PyTorch, and give what it says it has."""
    import torch

    torch.set_num_threads(threads)
    return int(torch.get_num_threads())


def old_pipeline(model: Any, checkpoint: str) -> Callable[..., list[str]]:
    """What answers with the question-answering pipeline of transformers 4 around a model, with its defaults."""
    from transformers import AutoTokenizer, pipeline

    asker = pipeline("question-answering", model=model, tokenizer=AutoTokenizer.from_pretrained(checkpoint))

    def answer(pairs: list[tuple[str, str]], batch_size: int = 1) -> list[str]:
        found = asker(
            question=[question for question, _ in pairs],
            context=[context for _, context in pairs],
            max_answer_len=MAX_ANSWER_LENGTH,
            batch_size=batch_size,
        )
        return [one["answer"] for one in (found if isinstance(found, list) else [found])]

    return answer
