"""Answers as columns of a pandas data frame, or of an Arrow record batch."""

from typing import TYPE_CHECKING

from qa_onnx import Answer, Example, Reader

if TYPE_CHECKING:
    import pandas
    import pyarrow


def answer_frame(frame: "pandas.DataFrame", reader: Reader) -> "pandas.DataFrame":
    """The frame with what its columns "question" and "context" give; missing texts count as empty."""
    texts = frame[["question", "context"]].fillna("")
    answers = _answers(reader, texts["question"], texts["context"])
    return frame.assign(
        answer=[answer.text for answer in answers], probability=[answer.probability for answer in answers]
    )


def answer_batch(batch: "pyarrow.RecordBatch", reader: Reader) -> "pyarrow.RecordBatch":
    """The same for Arrow, with nulls where there is no answer."""
    texts = [[text or "" for text in batch.column(name).to_pylist()] for name in ("question", "context")]
    answers = _answers(reader, *texts)
    return batch.append_column("answer", [answer.text or None for answer in answers]).append_column(
        "probability", [answer.probability for answer in answers]
    )


def _answers(
    reader: Reader, questions: "pandas.Series | list[str]", contexts: "pandas.Series | list[str]"
) -> list[Answer]:
    return [reader.choose(prediction) for prediction in reader.predict_iter(map(Example, questions, contexts))]
