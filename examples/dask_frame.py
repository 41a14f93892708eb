"""Answers as columns of a Dask data frame, on one machine or a cluster: `python dask_frame.py`."""

import dask.dataframe
import pandas
import pyarrow

from qa_onnx.mapping import answer_batches, answer_schema, cached_reader

INTEGERS = {pyarrow.int64(): pandas.Int64Dtype()}  # which, unlike numpy's, can be missing


def answer_part(part: pandas.DataFrame) -> pandas.DataFrame:
    """Runs in a worker, for each partition."""
    batch = pyarrow.RecordBatch.from_pandas(part)
    [answered] = answer_batches([batch], cached_reader())
    return answered.to_pandas(types_mapper=INTEGERS.get)


def answer_frame(frame: dask.dataframe.DataFrame) -> dask.dataframe.DataFrame:
    """Its rows with the columns of answers; nothing is loaded or answered yet."""
    schema = answer_schema(pyarrow.Schema.from_pandas(frame._meta_nonempty))
    return frame.map_partitions(answer_part, meta=schema.empty_table().to_pandas(types_mapper=INTEGERS.get))


if __name__ == "__main__":
    rows = pandas.DataFrame(
        {
            "question": ["What colour is the boat?", "Who came by boat?", "Who is the captain?"],
            "context": ["The boat is blue and the sail is white.", "Ida came by boat.", None],
        }
    )
    for row in answer_frame(dask.dataframe.from_pandas(rows, npartitions=2)).compute().itertuples():
        print(row.question, "|", row.answer_text if pandas.isna(row.answer_error) else row.answer_error)
