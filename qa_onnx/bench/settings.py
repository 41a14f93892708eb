"""The settings that tuning tries: every way to run a bundle on this machine that is accurate enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qa_onnx.engines.names import BACKENDS, PRECISIONS, Backend, missing_instructions
from qa_onnx.engines.sessions import check_usable
from qa_onnx.errors import EngineError, MissingExtraError
from qa_onnx.machine import cpu
from qa_onnx.options import BATCH_TOKENS

if TYPE_CHECKING:
    from qa_onnx.bundle.folder import Bundle

TRIED_TOKENS = {  # token budgets by device, the default first; 1: each window alone
    "cpu": (BATCH_TOKENS["cpu"], 1, 384, 2048),
    "cuda": (BATCH_TOKENS["cuda"], 384, 1024, 4096),
}


class Setting(NamedTuple):
    """One way to run a bundle; see `Reader.load` and `Options.batch_tokens`."""

    precision: str
    engine: str
    device: str
    threads: int
    batch_tokens: int


def accuracy_note(bundle: Bundle, precision: str, min_f1_percent: float) -> str:
    """Return why a precision must not be used; empty if it may."""
    receipt = bundle.graph(precision).receipt
    if min_f1_percent == 0 or (receipt is None and not PRECISIONS[precision].needs_receipt):
        return ""
    if receipt is None:
        return "it has no receipt with its accuracy: export it with --eval-data, or use --min-f1-percent 0"
    if receipt.percent_of_fp32 < min_f1_percent:
        return f"its F1 is {receipt.percent_of_fp32:.2f} % of fp32's, less than {min_f1_percent:g} %"
    return ""


def settings(bundle: Bundle) -> list[Setting]:
    """Return a setting for each usable backend, precision and number of threads, the default one first."""
    most = cpu.default_threads()
    tried = []
    for backend in BACKENDS:
        device = backend.device
        try:
            check_usable(backend)
        except (EngineError, MissingExtraError):
            continue  # qa-onnx doctor explains why
        counts = sorted({most, max(1, most // 2)}, reverse=True) if device == "cpu" else [most]
        for precision in bundle.precisions(backend):
            if not missing_instructions(precision):
                tried += [
                    Setting(precision, backend.engine, device, threads, BATCH_TOKENS[device]) for threads in counts
                ]
    return sorted(tried, key=lambda setting: setting != default_setting(bundle))


def default_setting(bundle: Bundle) -> Setting:
    """Return the setting that `Reader.load` uses without a profile.

    Raises:
        EngineError: the bundle holds nothing for ONNX Runtime on the CPU.
    """
    precision = bundle.best_precision(Backend("onnxruntime"))
    return Setting(precision, "onnxruntime", "cpu", cpu.default_threads(), BATCH_TOKENS["cpu"])
