"""Fine-tuning: questions with their answers -> a checkpoint that `qa_onnx.export` takes; needs the extra `train`.

In the order of the work: settings, corpus (with tally), negatives, targets, features, order, schedule, teacher,
loss, loop (with base, device, rows, optimizer, scoring, state), workspace, card and plot; run joins them.

May import: everything of the run time, export. Left out: a bundle of the trained checkpoint (export).
"""

from qa_onnx.train.run import train
from qa_onnx.train.settings import TrainSettings

__all__ = ["TrainSettings", "train"]
