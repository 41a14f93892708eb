"""Arrays -> logits: what a `Reader` needs of any engine.

Left out: the engines themselves, and the choice between them (engines/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

OUTPUTS = ["start_logits", "end_logits"]
# See `Session.run_overhead`. With MiniLM on two cores with AVX2, ONNX Runtime's is 4 tokens (int8) to 16 (fp32);
# apart from it a run takes as long as its tokens, in however many rows they come. On an H200 it is 700 tokens in
# fp32 and 3,000 or more in fp16, as far as speeds in batches of 1,024, 4,096 and 16,384 tokens tell.
RUN_OVERHEAD: dict[str, int] = {"cpu": 16, "cuda": 1024}


class Session(Protocol):
    """A graph that is ready to run. Any number of threads may call `run` at once."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs that the graph declares."""
        ...

    @property
    def run_overhead(self) -> int:
        """What a run costs beside its tokens, in tokens: as much padding is cheaper than one more run."""
        ...

    @property
    def frees_host(self) -> bool:
        """Whether a run leaves the host's cores idle, so that they can do something else meanwhile."""
        ...

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute a batch.

        Args:
            inputs: int64 (B, T) for each of `input_names`.

        Returns:
            start_logits and end_logits, float32 (B, T) each.
        """
        ...
