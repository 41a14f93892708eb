"""Answers as columns of a pandas data frame: `python pandas_frame.py`."""

import pandas
import pyarrow

from qa_onnx.mapping import answer_batches, cached_reader

INTEGERS = {pyarrow.int64(): pandas.Int64Dtype()}  # which, unlike numpy's, can be missing


def answer_frame(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Its rows in their order, with their index and the columns of answers."""
    batch = pyarrow.RecordBatch.from_pandas(frame)
    [answered] = answer_batches([batch], cached_reader())
    return answered.to_pandas(types_mapper=INTEGERS.get)


if __name__ == "__main__":
    rows = pandas.DataFrame(
        {
            "question": ["What colour is the boat?", "Who came by boat?", "Who is the captain?"],
            "context": ["The boat is blue and the sail is white.", "Ida came by boat.", None],
        }
    )
    for row in answer_frame(rows).itertuples():
        print(row.question, "|", row.answer_text if pandas.isna(row.answer_error) else row.answer_error)
