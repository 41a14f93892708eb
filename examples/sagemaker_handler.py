"""The four functions of SageMaker's inference toolkit: `code/inference.py` in a model.tar.gz beside a bundle."""

import json
from typing import Any

from qa_onnx import Example, Reader


def model_fn(model_dir: str) -> Reader:
    """Load the bundle in the folder of the model, once for each worker."""
    return Reader.load(model_dir)


def input_fn(request_body: str | bytes, content_type: str) -> list[Example]:
    """Read a request: {"question", "context"} or a list of these."""
    if content_type != "application/json":
        raise ValueError(f"content type is {content_type}; it must be application/json")
    content = json.loads(request_body)
    return [
        Example(row["question"], row["context"]) for row in (content if isinstance(content, list) else [content])
    ]


def predict_fn(examples: list[Example], reader: Reader) -> list[dict[str, Any]]:
    """Answer all questions of a request together; an answer without text is "no answer"."""
    return [reader.choose(prediction).to_dict() for prediction in reader.predict(examples)]


def output_fn(answers: list[dict[str, Any]], accept: str) -> str:
    """Write the answers, in the order of the questions."""
    if accept not in ("application/json", "*/*"):
        raise ValueError(f"accept is {accept}; it must be application/json")
    return json.dumps(answers)
