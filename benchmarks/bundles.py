"""A checkpoint -> its bundle, exported once for each version of the exporter.

    python benchmarks/bundles.py CHECKPOINT [option of qa-onnx export ...]

Prints the bundle's folder, in build/bundles. It is exported again if the checkpoint, the exporter or an option
changed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx import QaOnnxError
from qa_onnx.errors import ExportError
from qa_onnx.export.untrusted_files import files_sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]
BUNDLES = ROOT / "build" / "bundles"


def folder_for(checkpoint: Path, options: Sequence[str], *, read: Sequence[Path] = (), to: Path = BUNDLES) -> Path:
    """Return the folder of the bundle for this checkpoint, options and exporter; see `exported`."""
    sources = [*sorted((ROOT / "qa_onnx" / "export").glob("*.py"))]
    sources += [path for path in sorted(checkpoint.iterdir()) if path.is_file()]
    made_of = hashlib.sha256(" ".join([files_sha256([*sources, *read]), *options]).encode()).hexdigest()
    return to / f"{checkpoint.name}-{made_of[:12]}"


def exported(checkpoint: Path, options: Sequence[str], *, read: Sequence[Path] = (), to: Path = BUNDLES) -> Path:
    """Return the bundle of a checkpoint; export it if it does not exist.

    Args:
        checkpoint: folder of the checkpoint.
        options: options of `qa-onnx export`.
        read: other files that the options name.
        to: folder of the bundles.

    Raises:
        ExportError: it cannot be exported.
    """
    folder = folder_for(checkpoint, options, read=read, to=to)
    if not (folder / "bundle.json").exists():
        command = [sys.executable, "-m", "qa_onnx", "export", str(checkpoint), "--to", str(folder), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ExportError(f"qa-onnx export failed: {(done.stderr.strip() or '?').splitlines()[-1]}")
    return folder


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    checkpoint = Path(sys.argv[1])
    try:
        if not (checkpoint / "config.json").is_file():
            raise ExportError(f"{checkpoint} is no checkpoint: it has no config.json")
        print(exported(checkpoint, sys.argv[2:]))
    except QaOnnxError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
