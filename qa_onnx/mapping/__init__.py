"""Many rows -> the same rows with answers: `answer_batches`, and what `qa-onnx map` puts around it.

All engines, and the recipes for Spark and others, share arrow.py, and cached.py where they call a function for
each part of a table; job.py lists the other files. May import: the files of the root, engines, machine, bundle,
data. Left out: starting clusters, and what is shown of a job (cli).
"""

from qa_onnx.mapping.arrow import Asked, answer_batches, answer_schema
from qa_onnx.mapping.cached import cached_reader

__all__ = ["Asked", "answer_batches", "answer_schema", "cached_reader"]
