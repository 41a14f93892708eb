"""Answers beside the rows of a Spark data frame: `spark-submit spark_frame.py`, or `python spark_frame.py`."""

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from qa_onnx.mapping import answer_batches, answer_schema, cached_reader


def answer_frame(frame: DataFrame) -> DataFrame:
    """Its rows with the columns of answers; a worker keeps its reader from one task to the next."""
    schema = from_arrow_schema(answer_schema(to_arrow_schema(frame.schema)))
    return frame.mapInArrow(lambda batches: answer_batches(batches, cached_reader(threads=1)), schema)


if __name__ == "__main__":
    spark = SparkSession.builder.appName("answers").getOrCreate()
    rows = spark.createDataFrame(
        [
            ("What colour is the boat?", "The boat is blue and the sail is white."),
            ("Who came by boat?", "Ida came by boat."),
            ("Who is the captain?", None),
        ],
        "question string, context string",
    )
    for row in answer_frame(rows).collect():
        print(row.question, "|", row.answer_error if row.answer_text is None else row.answer_text)
    spark.stop()
