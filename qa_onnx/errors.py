"""Every error that qa-onnx raises on purpose.

    QaOnnxError
    ├── InputError          a question, context, option or data file is not usable (also a ValueError)
    ├── MissingExtraError   a package is not installed; the message holds the pip line (also an ImportError)
    ├── BundleError         the folder is not a bundle, or it is damaged
    │   └── BundleFormatError   it was written by a newer release
    ├── EngineError         the graph cannot run as asked: device, wheel, or what the graph returned
    │   └── DeviceError         the device that was asked for cannot be used here: driver, libraries, GPU
    ├── QueueFullError      more questions wait than an AsyncReader takes; it says when to come back
    ├── DeadlineError       no answer within the time that was asked for (also a TimeoutError)
    ├── ClosedError         the AsyncReader is closed, or was before it came to this question
    ├── TrainError          a training run cannot start, go on or be written
    └── ExportError         the checkpoint cannot become a bundle
        ├── ParityError     it can, but the ONNX graph does not answer as PyTorch does
        └── GateError       it can, but a precision does not answer as well as was asked for

A message names the value, the limit and the remedy.
"""

from __future__ import annotations


class QaOnnxError(Exception):
    """Base of every error below; catch this one to catch them all.

    Attributes:
        problem: what is wrong, and where.
        remedy: what to do about it; empty where the problem says it.
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
    """A graph cannot run as asked on this machine, or returned what cannot be right."""


class DeviceError(EngineError):
    """The device that was asked for cannot be used on this machine as it is."""


class QueueFullError(QaOnnxError):
    """More questions wait than an `AsyncReader` takes.

    Attributes:
        retry_after_s: seconds after which what waits now should be answered, as far as one can tell.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineError(QaOnnxError, TimeoutError):
    """A question was not answered within its `timeout_s`."""


class ClosedError(QaOnnxError):
    """The `AsyncReader` takes no questions any more, or was told to drop those that wait."""


class TrainError(QaOnnxError):
    """A training run cannot start where it was told to, go on, or be written."""


class ExportError(QaOnnxError):
    """A checkpoint or ONNX model cannot become a bundle."""


class ParityError(ExportError):
    """The exported graph's logits differ too much from PyTorch's."""


class GateError(ExportError):
    """A precision does not reach the share of float32's F1 that was asked for."""
