"""A handler with the calling convention of Hugging Face's hosted endpoints: `handler.py` beside a bundle's files.

The endpoint makes one `EndpointHandler` and calls it with each request's JSON.
"""

from pathlib import Path
from typing import Any

from qa_onnx import pipeline


class EndpointHandler:
    """Answers requests of the task question-answering.

    Args:
        path: folder of the repository; where it holds no bundle, the default model answers.
    """

    def __init__(self, path: str = "") -> None:
        self.ask = pipeline("question-answering", model=path if Path(path, "bundle.json").is_file() else None)

    def __call__(self, data: dict[str, Any]) -> Any:
        """Return what the task's pipeline returns: {"answer", "score", "start", "end"}, or a list of these.

        Args:
            data: {"inputs": {"question", "context"} or a list of these, "parameters": {"top_k": 3, ...}}.
        """
        return self.ask(data["inputs"], **(data.get("parameters") or {}))
