"""What every engine says of a batch that it cannot run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


def shapes_of(inputs: Mapping[str, NDArray[np.int64]]) -> str:
    """Return the shapes of a batch's inputs as text, for an error."""
    return ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
