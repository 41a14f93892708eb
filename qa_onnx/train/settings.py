"""Every option of training, in one frozen dataclass that is checked once.

Left out: base, data and the folder of the result, see `train`; the number of threads, which the host sets.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from qa_onnx.errors import InputError
from qa_onnx.options import BOUNDS, Bounds, Options, check_bounds

TRAIN_BOUNDS = {
    "epochs": Bounds(1e-6, 1e4),
    "minutes": Bounds(0.001, 1e6),
    "learning_rate": Bounds(1e-12, 10.0),
    "batch_size": Bounds(1, 1 << 16),
    "batch_tokens": Bounds(1, 1 << 24),
    "max_length": BOUNDS["max_length"],
    "doc_stride": BOUNDS["doc_stride"],
    "seed": Bounds(0, 1 << 32),
    "teacher_share": Bounds(0.0, 1.0),
    "negatives": Bounds(0.0, 1.0),
    "eval_limit": Bounds(0, 1 << 24),
    "evaluations": Bounds(1, 10_000),
    "patience": Bounds(1, 10_000),
    "save_every_s": Bounds(0.0, 1e6),
    "dropout": Bounds(0.0, 0.9),
    "warmup": Bounds(0.0, 0.9),
    "weight_decay": Bounds(0.0, 1.0),
    "max_grad_norm": Bounds(1e-9, 1e6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a model is trained.

    Attributes:
        epochs: passes over the training examples; may be fractional.
        minutes: train for so long instead, from the first step on, evaluations and saves included; the learning
            rate schedule is fitted to it.
        learning_rate: at its peak. None: 1e-4 for hidden sizes below 512, else 3e-5.
        batch_size: examples (windows) of one step of the optimizer.
        batch_tokens: most tokens, padding included, of the parts that a step is computed in; a longer window is a
            part of its own. More takes more memory. None: 768 on a CPU, 32,768 on a GPU.
        max_length: tokens of a window, see `Options.max_length`.
        doc_stride: tokens that two windows share. None: 128, or less if windows are short.
        seed: of the order, the negatives, the held-out questions, and the weights of a new head.
        bf16: matrix products in bfloat16. None: if the CPU or GPU has instructions for it.
        teacher_share: share of the loss that compares with the teacher, if there is one.
        negatives: share of the answerable questions that is added with another paragraph of the same article.
        eval_limit: questions of an evaluation, at most: a sample of the evaluation data or, without any, about so
            many of the training data, which are held out. 0: no evaluation.
        evaluations: number of evaluations, evenly spaced over the run; the last is at its end.
        patience: stop after so many evaluations without a better F1. None: never.
        save_every_s: seconds between two saves of the run's state.
        dropout: of hidden states. Attention has none, since its fast kernels do not support it.
        warmup: share of the run in which the learning rate rises.
        weight_decay: of AdamW, for matrices; biases and norms have none.
        max_grad_norm: gradients are clipped to this norm.
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
    max_grad_norm: float = 1.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in TRAIN_BOUNDS and not (value is None and field.default is None):
                check_bounds(field.name, value, bounds=TRAIN_BOUNDS)
        if self.device not in {"cpu", "cuda"}:
            raise InputError(f"device is {self.device!r}; it must be cpu or cuda")

    def options(self) -> Options:
        """Return the options that windows are cut with, in training and in evaluation."""
        usual = Options.for_windows_of(self.max_length)
        stride = usual.doc_stride if self.doc_stride is None else self.doc_stride
        return dataclasses.replace(usual, doc_stride=stride, batch_tokens=2048)
