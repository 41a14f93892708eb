"""Answers as columns of a Polars data frame, at once or lazily: `python polars_frame.py`."""

import polars
import pyarrow

from qa_onnx.mapping import answer_batches, answer_schema, cached_reader


def answer_frame(frame: polars.DataFrame) -> polars.DataFrame:
    """Its rows in their order, with the columns of answers."""
    table = frame.to_arrow()
    batches = answer_batches(table.to_batches(), cached_reader())
    return polars.from_arrow(pyarrow.Table.from_batches(batches, answer_schema(table.schema)))


def answer_lazily(frame: polars.LazyFrame) -> polars.LazyFrame:
    """The same for a query; Polars' streaming engine then answers a part of the rows at a time."""
    schema = answer_frame(polars.DataFrame(schema=frame.collect_schema())).schema
    return frame.map_batches(answer_frame, schema=schema, streamable=True)


if __name__ == "__main__":
    rows = polars.DataFrame(
        {
            "question": ["What colour is the boat?", "Who came by boat?", "Who is the captain?"],
            "context": ["The boat is blue and the sail is white.", "Ida came by boat.", None],
        }
    )
    answered = answer_frame(rows)
    assert answered.equals(answer_lazily(rows.lazy()).collect(engine="streaming"))
    for row in answered.iter_rows(named=True):
        print(row["question"], "|", row["answer_error"] if row["answer_text"] is None else row["answer_text"])
