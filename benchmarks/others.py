"""The rivals of qa-onnx: what runs each, and in which races it takes part.

Left out: environments and first starts (field.py). What each is given to be fast: the runners in rivals/.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL, QUICK, BASE, LARGE = "all", "quick", "bert-base", "bert-large"  # races


@dataclass(frozen=True)
class Rival:
    """A contender of another project.

    Attributes:
        name: display name.
        environment: folder of its requirements.
        script: its runner.
        variant: variant for the runner, such as "fp32".
        also: races that it takes part in, in addition to the full one.
        sweep: use its best batch size of `BATCH_SIZES`.
        in_reader: it runs in this project's reader, so it can time the stages.
    """

    name: str
    environment: str
    script: str
    variant: str
    also: tuple[str, ...] = ()
    sweep: bool = False
    in_reader: bool = False


_HF = "transformers 4 pipeline"
_ORT, _OV = f"{_HF} on optimum-onnx", f"{_HF} on OpenVINO (optimum-intel)"
_INT8, _STATIC = "PyTorch int8 (torchao, dynamic), compiled", "PyTorch int8 (torchao, static by pt2e), compiled"
FIELD = (
    Rival(f"{_HF}, fp32", "transformers-4", "transformers_4.py", "fp32", (QUICK, BASE, LARGE)),
    Rival(f"{_HF}, fp32, best batch", "transformers-4", "transformers_4.py", "fp32", sweep=True),
    Rival(f"{_ORT}, fp32", "optimum-onnx", "optimum_onnx.py", "fp32"),
    Rival(f"{_ORT}, int8", "optimum-onnx", "optimum_onnx.py", "int8", (QUICK, BASE, LARGE)),
    Rival(f"{_OV}, fp32", "optimum-intel", "optimum_intel.py", "fp32"),
    Rival(f"{_OV}, bf16", "optimum-intel", "optimum_intel.py", "bf16", (BASE,)),
    Rival(f"{_OV}, int8", "optimum-intel", "optimum_intel.py", "int8", (QUICK, BASE)),
    Rival("PyTorch bf16, compiled", "torchao", "torch_compiled.py", "bf16", (BASE,), in_reader=True),
    Rival(_INT8, "torchao", "torch_compiled.py", "int8", (BASE,), in_reader=True),
    Rival(f"{_INT8}, bf16", "torchao", "torch_compiled.py", "int8-bf16", (BASE,), in_reader=True),
    Rival(_STATIC, "torchao", "torch_compiled.py", "int8-static", (BASE,), in_reader=True),
    Rival(f"{_STATIC}, bf16", "torchao", "torch_compiled.py", "int8-static-bf16", (BASE,), in_reader=True),
    Rival("CTranslate2 int8", "ctranslate2", "ctranslate2_encoder.py", "int8", (BASE,), in_reader=True),
    Rival("Haystack's extractive reader, fp32", "transformers-haystack", "transformers_haystack.py", "fp32"),
)
