"""What every engine says of a batch that it cannot run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.errors import EngineError
from qa_onnx.session import ENDED

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.session import Stop


def failure(engine: str, inputs: Mapping[str, NDArray[np.int64]], error: Exception, stop: Stop) -> EngineError:
    """Return the error of a run that failed, or that was ended by `stop`."""
    return EngineError(ENDED if stop.requested else f"{engine} failed on {shapes_of(inputs)}: {error}")


def shapes_of(inputs: Mapping[str, NDArray[np.int64]]) -> str:
    """Return the shapes of a batch's inputs as text, for an error."""
    return ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
