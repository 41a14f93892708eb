"""Answers beside the rows of a DuckDB relation: `python duckdb_relation.py`."""

import duckdb
import pyarrow

from qa_onnx.mapping import answer_batches, answer_schema, cached_reader

ROWS = 2048  # of a batch


def answers(relation: duckdb.DuckDBPyRelation) -> pyarrow.RecordBatchReader:
    """Its rows with the columns of answers; they are answered as DuckDB asks for them, once."""
    batches = relation.to_arrow_reader(ROWS)
    schema = answer_schema(batches.schema)
    return pyarrow.RecordBatchReader.from_batches(schema, answer_batches(batches, cached_reader()))


if __name__ == "__main__":
    connection = duckdb.connect()
    connection.sql("CREATE TABLE pairs (question TEXT, context TEXT)")
    connection.sql("""
        INSERT INTO pairs VALUES
            ('What colour is the boat?', 'The boat is blue and the sail is white.'),
            ('Who came by boat?', 'Ida came by boat.'),
            ('Who is the captain?', NULL)
    """)
    writer = connection.cursor()  # one connection cannot read its own result while it writes
    writer.register("answers", answers(connection.sql("FROM pairs")))
    writer.sql("CREATE TABLE answered AS FROM answers")
    for question, found in writer.sql(
        "SELECT question, coalesce(answer_error, answer_text) FROM answered"
    ).fetchall():
        print(question, "|", found)
