"""A page to try a model on: `python gradio_page.py`."""

from typing import Any

import gradio

from qa_onnx import Reader

reader = Reader.load()


def answer(question: str, context: str) -> dict[str, Any]:
    """The context with the answer marked."""
    found = reader.ask(question, context)
    mark = {"entity": f"{found.probability:.0%}", "start": found.start, "end": found.end}
    return {"text": context, "entities": [mark] if found else []}


texts = [gradio.Textbox(label="Question"), gradio.Textbox(label="Context", lines=12)]
page = gradio.Interface(answer, texts, gradio.HighlightedText(label="Answer"), analytics_enabled=False)

if __name__ == "__main__":
    page.launch(server_name="127.0.0.1")
