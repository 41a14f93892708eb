"""A bundle -> the parts of a reader: the graph's session and the tokenizer, opened at the same time.

Left out: which graph and engine (runtime.py), and the reader itself.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_onnx.bundle.folder import Bundle
from qa_onnx.bundle.runtime import load_runtime
from qa_onnx.options import Options, check_types
from qa_onnx.windows import Windower

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.bundle.runtime import Runtime


@dataclass(frozen=True, slots=True)
class ReaderOrigin:
    """What a reader was loaded from.

    Attributes:
        name: of the bundle.
        runtime: precision, backend and threads in use.
        arguments: of `Reader.load`, except for `options`, that load the same reader in another process.
    """

    name: str
    runtime: Runtime
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"bundle={self.name!r}, {self.runtime}"


def load_parts(
    bundle: str | Path | Bundle | None,
    revision: str | None,
    require_signature: str | Path | bytes | None,
    *,
    options: Options | None,
    **arguments: Any,
) -> tuple[ReaderOrigin, dict[str, Any]]:
    """Load a bundle, and open its graph and tokenizer.

    Args:
        bundle: see `Bundle.load`; so are the next two.
        revision: on the hub.
        require_signature: the public key.
        options: of the reader; None: the defaults, with the bundle's windows and the device's batches.
        arguments: of `load_runtime`.

    Returns:
        Where the reader comes from, and the arguments of its constructor.

    Raises:
        QaOnnxError: see `Reader.load`.
    """
    check_types({**arguments, "options": options})
    opened = Bundle.load(bundle, revision=revision, require_signature=require_signature)
    manifest = opened.manifest
    with ThreadPoolExecutor(1) as beside:  # opening a graph leaves the GIL free
        windower = beside.submit(lambda: Windower(opened.text(manifest.tokenizer), cls_id=manifest.cls_id))
        runtime, session = load_runtime(opened, **arguments)
    place = None if bundle is None else opened.path.absolute()
    again = {"bundle": place, "require_signature": require_signature, **arguments}
    return ReaderOrigin(manifest.source.name, runtime, again), {
        "session": session,
        "windower": windower.result(),
        "pad_id": manifest.pad_id,
        "options": options or Options.for_windows_of(manifest.max_length, batch_tokens=runtime.batch_tokens),
        "max_positions": manifest.max_positions,
        "null_threshold": manifest.null_threshold,
        "temperature": manifest.temperature,
    }
