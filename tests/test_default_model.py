"""The default bundle answers as it should; with SQuAD and PyTorch at hand, exactly as PyTorch does."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import Reader
from qa_onnx.data import squad

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.cpu

LIBRARY = (
    "Transformers is a library for working with natural language. It provides general purpose architectures, "
    "among them BERT, GPT-2 and RoBERTa, both for understanding text and for writing it. When its second version "
    "came out, over 32 pretrained models were available, in more than 100 languages. It also provides "
    "interoperability between frameworks: a model moves freely between TensorFlow 2.0 and PyTorch."
)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader.load()


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How many pretrained models are available in 🤗 Transformers?", "over 32"),
        ("What does 🤗 Transformers provide?", "general purpose architectures"),
        ("🤗 Transformers provides interoperability between which frameworks?", "TensorFlow 2.0 and PyTorch"),
    ],
)
def test_the_classic_three_questions(reader: Reader, question: str, expected: str) -> None:
    answer = reader.ask(question, LIBRARY)
    assert answer.text == expected
    assert LIBRARY[answer.start : answer.end] == expected


def test_an_answer_far_into_a_long_text_is_found(reader: Reader) -> None:
    filler = "The weather was mild and nothing of note was written down on that day. "
    context = filler * 150 + "The safe was opened by Rosa Lindgren with a hairpin. " + filler * 150
    answer = reader.ask("Who opened the safe?", context)
    assert answer.text == "Rosa Lindgren"
    assert context[answer.start : answer.end] == "Rosa Lindgren"


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.parametrize("questions", [80, pytest.param(500, marks=pytest.mark.soak)])
def test_fp32_gives_the_answers_of_an_exhaustive_search_over_pytorch(
    shared: Path, tmp_path: Path, questions: int
) -> None:
    """Transformers' own windows, PyTorch's logits, all (i, j) tried."""
    from qa_onnx.export import export

    checkpoint = shared / "models" / "minilm-squad"
    ours = Reader.load(export(checkpoint, tmp_path / "bundle", precisions=("fp32",)))
    golds = squad.load(shared / "data" / "squad-dev-a.json.gz").golds
    chosen = random.Random(1).sample(golds, questions)
    options = dataclasses.replace(ours.options, across_blocks=True, align_to_words=False)
    predictions = ours.predict(((gold.question, gold.context) for gold in chosen), options=options)
    search = _PyTorchSearch(checkpoint)
    for gold, prediction in zip(chosen, predictions, strict=True):
        answer = prediction.choose(None)
        score, start, end = search(gold.question, gold.context)
        assert answer.score == pytest.approx(score, abs=1e-3), gold.id
        assert (answer.start, answer.end) == (start, end), gold.id


class _PyTorchSearch:
    """The best span by brute force, with nothing of this project in it."""

    def __init__(self, checkpoint: Path) -> None:
        import torch
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.model = AutoModelForQuestionAnswering.from_pretrained(checkpoint, dtype=torch.float32).eval()

    def __call__(self, question: str, context: str) -> tuple[float, int, int]:
        import torch

        windows = self.tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=384,
            stride=128,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=True,
            return_tensors="pt",
        )
        offsets = windows.pop("offset_mapping").numpy()
        windows.pop("overflow_to_sample_mapping")
        with torch.inference_mode():
            out = self.model(**windows)
        found = []
        for row in range(len(offsets)):
            inside = np.array([part == 1 for part in windows.sequence_ids(row)])
            score, i, j = self._best(out.start_logits[row].numpy(), out.end_logits[row].numpy(), inside)
            found.append((score, int(offsets[row][i][0]), int(offsets[row][j][1])))
        return max(found, key=lambda item: item[0])

    @staticmethod
    def _best(start: Any, end: Any, inside: NDArray[np.bool_]) -> tuple[float, int, int]:
        scores = start[:, None].astype(np.float64) + end[None, :].astype(np.float64)
        i, j = np.indices(scores.shape)
        allowed = inside[:, None] & inside[None, :] & (i <= j) & (j < i + 30)
        best = np.where(allowed, scores, -np.inf).argmax()
        return float(scores.flat[best]), int(i.flat[best]), int(j.flat[best])
