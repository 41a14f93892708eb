"""Arrays -> logits in ONNX Runtime, TensorRT or OpenVINO, on a CPU or an NVIDIA GPU.

May import: errors, options, session, machine. Left out: which of a bundle's graphs is run (bundle/runtime.py).
"""
