"""Arrays -> logits: the interface between a `Reader` and the engine that runs its graph.

Left out: the engines themselves, and the choice between them (engines/). A fake one is in testing.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

# Inputs that a graph may declare. It gets exactly those, and any other name is an error: with a silently missing
# segment id, a model seems to work on short texts and fails on long ones.
KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ["start_logits", "end_logits"]
# See `Session.run_overhead`. On two cores with AVX2, a run of MiniLM in ONNX Runtime costs as much as 4 (int8) to
# 16 (fp32) tokens, plus time proportional to its tokens, in any number of rows. On an H200 the overhead is 700
# tokens in fp32 and 3,000 or more in fp16, estimated from the speeds of batches of 1,024, 4,096 and 16,384 tokens.
RUN_OVERHEAD: dict[str, int] = {"cpu": 16, "cuda": 1024}


class Session(Protocol):
    """Interface of a graph that is ready to run. Any number of threads may call `run` at once."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs that the graph declares, of `KNOWN_INPUTS`."""

    @property
    def run_overhead(self) -> int:
        """Fixed cost of a run, in tokens: more padding than this costs more than another run."""

    @property
    def leaves_cpu_idle(self) -> bool:
        """Whether the host's cores are idle during a run, as with a GPU, and can prepare the next one."""

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute the logits of a batch.

        Args:
            inputs: int64 (B, T) for each of `input_names`.

        Returns:
            start_logits and end_logits, float32 (B, T) each.
        """
