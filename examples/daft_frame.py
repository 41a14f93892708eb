"""Answers beside the rows of a Daft data frame, on one machine or on Ray: `python daft_frame.py`."""

import daft
import pyarrow

from qa_onnx.mapping import answer_batches, answer_schema, cached_reader

TEXTS = pyarrow.schema({"question": pyarrow.string(), "context": pyarrow.string()})
ANSWER = pyarrow.struct(list(answer_schema(TEXTS))[len(TEXTS) :])


@daft.cls
class Answerer:
    def __init__(self) -> None:
        self.reader = cached_reader(threads=1)

    @daft.method.batch(return_dtype=daft.DataType.from_arrow_type(ANSWER), unnest=True, batch_size=512)
    def answer(self, question: daft.Series, context: daft.Series) -> pyarrow.StructArray:
        """Runs in a worker, for each batch of rows."""
        texts = [series.to_arrow() for series in (question, context)]
        [answered] = answer_batches([pyarrow.record_batch(texts, TEXTS.names)], self.reader)
        return answered.select([field.name for field in ANSWER]).to_struct_array()


def answer_frame(frame: daft.DataFrame) -> daft.DataFrame:
    """Its rows with the columns of answers."""
    return frame.select("*", Answerer().answer(frame["question"], frame["context"]))


if __name__ == "__main__":
    rows = daft.from_pydict(
        {
            "question": ["What colour is the boat?", "Who came by boat?", "Who is the captain?"],
            "context": ["The boat is blue and the sail is white.", "Ida came by boat.", None],
        }
    )
    for row in answer_frame(rows).to_pylist():
        print(row["question"], "|", row["answer_error"] if row["answer_text"] is None else row["answer_text"])
