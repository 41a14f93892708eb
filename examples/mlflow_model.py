"""A bundle as an MLflow model: `save("model", "exported/mine")`, then `mlflow.pyfunc.load_model("model")`."""

import mlflow
import pandas

from qa_onnx import Example, Reader


class QuestionAnswering(mlflow.pyfunc.PythonModel):
    """Rows with a question and a context -> rows with text, start, end, score and probability."""

    def load_context(self, context) -> None:
        """Load the bundle that was saved with the model."""
        self.reader = Reader.load(context.artifacts["bundle"])

    def predict(self, context, model_input: pandas.DataFrame, params: dict | None = None) -> pandas.DataFrame:
        """Answer all rows together; the text is empty where there is no answer."""
        examples = map(Example, model_input["question"], model_input["context"])
        answers = [self.reader.choose(prediction) for prediction in self.reader.predict(examples)]
        return pandas.DataFrame([answer.to_dict() for answer in answers], index=model_input.index)


def save(path, bundle) -> None:
    """Save a bundle's folder as an MLflow model; this file is copied into it as its code."""
    mlflow.pyfunc.save_model(path, python_model=__file__, artifacts={"bundle": str(bundle)})


mlflow.models.set_model(QuestionAnswering())  # what MLflow loads when it runs this file
