"""Extractive question answering on ONNX Runtime, without torch or transformers.

>>> from qa_onnx import Reader
>>> reader = Reader.load()
>>> reader.ask("What colour is the boat?", "The boat is blue and the sail is white.").text
'blue'

To learn how a question is answered, read the files beside this one in the order in which data flows: options,
windows, batches, session, spans, probabilities, groups, answers, steps, reader. Or begin at the end, with
`Reader.ask`, and follow the calls. Everything else lies in folders, whose `__init__.py` says what they are for.
"""

import logging
from typing import TYPE_CHECKING, Any

from qa_onnx.answers import Answer, Prediction
from qa_onnx.bundle.folder import Bundle
from qa_onnx.dynamic_batching.observer import Observer
from qa_onnx.engines.onnx_cpu import OnnxSession
from qa_onnx.errors import (
    BundleError,
    BundleFormatError,
    ClosedError,
    DeadlineError,
    DeviceError,
    EngineError,
    ExportError,
    GateError,
    InputError,
    MapError,
    MissingExtraError,
    ParityError,
    QaOnnxError,
    QueueFullError,
    ServerError,
    TrainError,
)
from qa_onnx.options import Options
from qa_onnx.pipelines.pipeline import QuestionAnsweringPipeline, pipeline
from qa_onnx.reader import Reader
from qa_onnx.session import Session
from qa_onnx.windows import Example, Window, Windower

if TYPE_CHECKING:
    from qa_onnx.dynamic_batching.async_reader import AsyncReader

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # silent unless the host listens

__all__ = [
    "Answer",
    "AsyncReader",
    "Bundle",
    "BundleError",
    "BundleFormatError",
    "ClosedError",
    "DeadlineError",
    "DeviceError",
    "EngineError",
    "Example",
    "ExportError",
    "GateError",
    "InputError",
    "MapError",
    "MissingExtraError",
    "Observer",
    "OnnxSession",
    "Options",
    "ParityError",
    "Prediction",
    "QaOnnxError",
    "QuestionAnsweringPipeline",
    "QueueFullError",
    "Reader",
    "ServerError",
    "Session",
    "TrainError",
    "Window",
    "Windower",
    "__version__",
    "pipeline",
]


def __getattr__(name: str) -> Any:
    """Import AsyncReader at first use: asyncio takes a seventh of the time of all other imports."""
    if name != "AsyncReader":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qa_onnx.dynamic_batching.async_reader import AsyncReader

    return AsyncReader
