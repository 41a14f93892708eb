"""Every option of training, in one frozen dataclass that is checked once.

Left out: base, data and the folder of the result, see `train`; the number of threads, which the host sets.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from qa_onnx.errors import InputError
from qa_onnx.options import BOUNDS, Bounds, Options, bounds_of, check_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a model is trained.

    Attributes:
        epochs: passes over the training examples; may be fractional.
        minutes: train for so long instead, from the first step on, evaluations and saves included; the learning
            rate schedule is fitted to it.
        learning_rate: at its peak. None: 2e-5 if the base answers questions already; for an encoder 1e-4 if its
            hidden size is below 512, else 3e-5.
        batch_size: examples (windows) of one step of the optimizer.
        batch_tokens: most tokens, padding included, of the parts that a step is computed in; a longer window is a
            part of its own. More takes more memory. None: 768 on a CPU, 32,768 on a GPU.
        max_length: tokens of a window, see `Options.max_length`.
        doc_stride: tokens that two windows share. None: 128, or less if windows are short.
        seed: of the order, the negatives, the held-out questions, and the weights of a new head.
        bf16: matrix products in bfloat16. None: if the CPU or GPU has instructions for it.
        teacher_share: share of the loss that compares with the teacher, if there is one.
        negatives: share of the answerable questions that is asked again of a paragraph without their answer, if
            possible of the same article.
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

    epochs: Annotated[float, Bounds(1e-6, 1e4)] = 2.0
    minutes: Annotated[float | None, Bounds(0.001, 1e6)] = None
    learning_rate: Annotated[float | None, Bounds(1e-12, 10.0)] = None
    batch_size: Annotated[int, Bounds(1, 1 << 16)] = 32
    batch_tokens: Annotated[int | None, Bounds(1, 1 << 24)] = None
    max_length: Annotated[int, BOUNDS["max_length"]] = 384
    doc_stride: Annotated[int | None, BOUNDS["doc_stride"]] = None
    seed: Annotated[int, Bounds(0, 1 << 32)] = 0
    bf16: bool | None = None
    teacher_share: Annotated[float, Bounds(0.0, 1.0)] = 0.9
    negatives: Annotated[float, Bounds(0.0, 1.0)] = 0.1
    eval_limit: Annotated[int, Bounds(0, 1 << 24)] = 500
    evaluations: Annotated[int, Bounds(1, 10_000)] = 8
    patience: Annotated[int | None, Bounds(1, 10_000)] = None
    save_every_s: Annotated[float, Bounds(0.0, 1e6)] = 180.0
    dropout: Annotated[float, Bounds(0.0, 0.9)] = 0.0
    warmup: Annotated[float, Bounds(0.0, 0.9)] = 0.05
    weight_decay: Annotated[float, Bounds(0.0, 1.0)] = 0.01
    max_grad_norm: Annotated[float, Bounds(1e-9, 1e6)] = 1.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_fields(self, TRAIN_BOUNDS)
        if self.device not in {"cpu", "cuda"}:
            raise InputError(f"device is {self.device!r}; it must be cpu or cuda")

    def options(self) -> Options:
        """Return the options that windows are cut with, in training and in evaluation."""
        usual = Options.for_windows_of(self.max_length)
        stride = usual.doc_stride if self.doc_stride is None else self.doc_stride
        return dataclasses.replace(usual, doc_stride=stride, batch_tokens=2048)


TRAIN_BOUNDS = bounds_of(TrainSettings)
