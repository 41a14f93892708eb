"""What the tests of several engines share: a graph, random batches, and logits that must be the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.exports import graph_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx import Bundle


@pytest.fixture(scope="session")
def graph(tiny_bundle: Bundle) -> Path:
    """The tiny BERT's fp32 graph."""
    return graph_path(tiny_bundle, "fp32")


def batch(rows: int, tokens: int, *, seed: int = 0) -> dict[str, NDArray[np.int64]]:
    """Random ids, each row padded a token more than the one before."""
    ids = np.random.default_rng(seed).integers(5, 40, (rows, tokens))
    lengths = np.maximum(tokens - np.arange(rows)[:, None], 1)
    mask = (np.arange(tokens) < lengths).astype(np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def assert_same(result: Any, wanted: Any, inputs: dict[str, NDArray[np.int64]], *, atol: float = 1e-5) -> None:
    """Check that two pairs of logits agree, excluding padding."""
    real = inputs["attention_mask"] == 1
    for logits, others in zip(result, wanted, strict=True):
        assert logits.shape == real.shape
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits[real], others[real], atol=atol, rtol=0)
