"""stub until merge"""

from qa_onnx import squad


def load_questions():  # type: ignore
    return squad.load("/work/shared/data/squad-dev-a.json.gz", limit=150)
