"""Every error that qa-onnx raises on purpose.

    QaOnnxError
    ├── InputError          a question, context, option or data file is not usable (also a ValueError)
    ├── MissingExtraError   a package is not installed; the message holds the pip line (also an ImportError)
    ├── BundleError         the folder is not a bundle, or it is damaged
    │   └── BundleFormatError   it was written by a newer release
    ├── EngineError         the graph cannot run here, or returned logits that are not numbers
    │   └── DeviceError         the requested device cannot be used here: driver, libraries, GPU
    ├── QueueFullError      more questions wait than an AsyncReader takes; it says when to try again
    ├── DeadlineError       no answer within timeout_s (also a TimeoutError)
    ├── ClosedError         the AsyncReader was closed before it came to this question
    ├── TrainError          a training run cannot start, continue or be written
    └── ExportError         the checkpoint cannot become a bundle
        ├── ParityError     the ONNX graph does not answer as PyTorch does
        └── GateError       a precision does not reach the required accuracy

A message says what is wrong, where, the limit and the remedy.
"""

from __future__ import annotations


class QaOnnxError(Exception):
    """Base of every error below; catch this one to catch them all.

    Attributes:
        problem: what is wrong, and where.
        remedy: what to do about it; empty where the problem implies it.
    """

    def __init__(self, problem: str = "", *, remedy: str = "") -> None:
        super().__init__(f"{problem}: {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy


class InputError(QaOnnxError, ValueError):
    """A question, context, option or data file is not usable."""


class MissingExtraError(QaOnnxError, ImportError):
    """A package that this call needs is not installed."""


class BundleError(QaOnnxError):
    """A folder is not a bundle, or a file of it is missing, truncated or changed."""


class BundleFormatError(BundleError):
    """The bundle has a format that this release does not read."""


class EngineError(QaOnnxError):
    """A graph cannot run on this machine, or returned logits that are not numbers."""


class DeviceError(EngineError):
    """The requested device cannot be used on this machine as it is."""


class QueueFullError(QaOnnxError):
    """More questions wait than an `AsyncReader` takes.

    Attributes:
        retry_after_s: estimated seconds until the questions that wait now are answered.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineError(QaOnnxError, TimeoutError):
    """A question was not answered within its `timeout_s`."""


class ClosedError(QaOnnxError):
    """The `AsyncReader` is closed: it takes no more questions, or dropped those that waited."""


class TrainError(QaOnnxError):
    """A training run cannot start, continue or be written."""


class ExportError(QaOnnxError):
    """A checkpoint or ONNX model cannot become a bundle."""


class ParityError(ExportError):
    """The exported graph's logits differ too much from PyTorch's."""


class GateError(ExportError):
    """A precision does not reach the required share of float32's F1."""
