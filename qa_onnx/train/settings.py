"""Every knob of training, in one frozen dataclass that is checked once.

What it leaves out: base, data and where the result goes (run.py); threads, which are the host's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from qa_onnx.errors import InputError
from qa_onnx.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a model is trained.

    Attributes:
        epochs: passes over the examples; the last may be a part of one.
        minutes: train for so long instead: from the first step on, evaluations and saves included. The schedule
            is fitted to it.
        learning_rate: at its peak. None: 1e-4 for hidden sizes below 512, else 3e-5.
        batch_size: examples (windows) of one step of the optimizer.
        batch_tokens: a step is computed in parts of at most so many tokens, padding included; one window always
            runs. More takes more memory. None: 768 on a CPU, 32,768 on a GPU.
        max_length: tokens of a window, see `Options.max_length`.
        doc_stride: tokens that two windows share. None: 128, or less where windows are short.
        seed: of the order, the negatives, the questions held out, and a fresh head.
        bf16: compute products in bfloat16. None: where the CPU or GPU has instructions for it.
        teacher_share: of the loss, that is the teacher's where there is one.
        negatives: that share of the answerable questions is asked, once more, of another paragraph of its article.
        eval_limit: an evaluation asks at most so many questions: a sample of the evaluation data or, without any,
            about so many of the training data, which are held out: whole articles where there are enough. 0: none.
        evaluations: how often the model is evaluated, evenly over the run; the last time at its end.
        patience: stop after so many evaluations without a better F1. None: never.
        save_every_s: seconds from one save of the run's state to the next.
        dropout: of hidden states. That of attention is always off, since it rules out the fast kernels.
        warmup: share of the run in which the learning rate rises.
        weight_decay: AdamW's, of matrices; biases and norms have none.
        clip: the norm that gradients are cut to.
        device: "cpu" or "cuda".

    Raises:
        InputError: a value is out of range.
    """

    epochs: float = 2.0
    minutes: float | None = None
    learning_rate: float | None = None
    batch_size: int = 32
    batch_tokens: int | None = None
    max_length: int = 384
    doc_stride: int | None = None
    seed: int = 0
    bf16: bool | None = None
    teacher_share: float = 0.9
    negatives: float = 0.1
    eval_limit: int = 500
    evaluations: int = 8
    patience: int | None = None
    save_every_s: float = 180.0
    dropout: float = 0.0
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("epochs", 0.0, 1e4),
            ("minutes", 0.0, 1e6),
            ("learning_rate", 0.0, 10.0),
            ("batch_size", 1, 1 << 16),
            ("batch_tokens", 1, 1 << 24),
            ("seed", 0, 1 << 32),
            ("teacher_share", 0.0, 1.0),
            ("negatives", 0.0, 1.0),
            ("eval_limit", 0, 1 << 24),
            ("evaluations", 1, 10_000),
            ("patience", 1, 10_000),
            ("save_every_s", 0.0, 1e6),
            ("dropout", 0.0, 0.9),
            ("warmup", 0.0, 0.9),
            ("weight_decay", 0.0, 1.0),
            ("clip", 0.0, 1e6),
        ):
            value = getattr(self, name)
            if value is None and name in {"minutes", "learning_rate", "batch_tokens", "patience"}:
                continue
            kind = "an integer" if isinstance(low, int) else "a number"
            usable = isinstance(value, int if kind == "an integer" else (int, float)) and not isinstance(
                value, bool
            )
            above_zero = name not in {"epochs", "minutes", "learning_rate", "clip"} or (usable and value > 0)
            if not usable or not math.isfinite(value) or not low <= value <= high or not above_zero:
                least = low if above_zero or not usable else f"more than {low:g}"
                raise InputError(f"{name} is {value!r}; it must be {kind} from {least} to {high:g}")
        if self.device not in {"cpu", "cuda"}:
            raise InputError(f"device is {self.device!r}; it must be cpu or cuda")
        self.options()

    def options(self) -> Options:
        """How examples are cut, in training and in evaluation: as a reader cuts them.

        Raises:
            InputError: there can be no such windows.
        """
        usual = Options.for_windows_of(self.max_length)
        return Options(
            max_length=self.max_length,
            doc_stride=usual.doc_stride if self.doc_stride is None else self.doc_stride,
            max_question_length=usual.max_question_length,
            batch_tokens=2048,
        )
