"""Fine-tuning: questions with answers -> a checkpoint that `qa_onnx.export` takes; needs the extra `train`.

Reading order: settings; corpus, questions and targets make the windows; base, teacher and job the rest;
optimization, loss, evaluations, callback, state and trainer are the loop; workspace,
report and run the result.

May import: everything of the run time, export, appearance. Left out: a bundle of the trained checkpoint (export).
"""

from qa_onnx.train.callback import JsonLinesLog, Status, TrainingCallback
from qa_onnx.train.run import train
from qa_onnx.train.settings import TrainSettings

__all__ = ["JsonLinesLog", "Status", "TrainSettings", "TrainingCallback", "train"]
