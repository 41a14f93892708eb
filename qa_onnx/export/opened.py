"""The name of a checkpoint -> a checked checkpoint, and the folder of it that transformers may see.

    find -> check every file -> clean the JSON files -> a folder with those, and with links to the weights

transformers is only ever given that folder. Files that are not copied into it do not exist for it: adapters, chat
templates, pickles, code, other configurations.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import ExportError
from qa_onnx.export.clean_config import (
    check_added_tokens,
    clean_model_config,
    clean_special_tokens,
    clean_tokenizer_config,
)
from qa_onnx.export.locate import find_checkpoint
from qa_onnx.export.model_size import check_sizes
from qa_onnx.export.refusals import refuse_kind, refuse_unsafe
from qa_onnx.export.safetensors_header import INDEX, StoredWeights, read_headers
from qa_onnx.export.untrusted_files import TEXT_LIMIT, check_entries, files_sha256, json_object, read_bytes
from qa_onnx.machine.files import os_errors
from qa_onnx.machine.locks import work_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike

_LOG = logging.getLogger(__name__)

_CONFIG_LIMIT = 1 << 20  # bytes
_TOKENIZER_CONFIG_LIMIT = 16 << 20  # bytes; some list every token
_JSON: dict[str, tuple[int, Callable[[Path, Mapping[str, Any]], dict[str, Any]]]] = {
    "config.json": (_CONFIG_LIMIT, clean_model_config),
    "tokenizer_config.json": (_TOKENIZER_CONFIG_LIMIT, clean_tokenizer_config),
    "special_tokens_map.json": (_CONFIG_LIMIT, clean_special_tokens),
    "added_tokens.json": (_TOKENIZER_CONFIG_LIMIT, check_added_tokens),
    "vocab.json": (_TOKENIZER_CONFIG_LIMIT, check_added_tokens),
}
# The vocabularies of all tokenizers that a question answering model in transformers has.
_TEXTS = ("tokenizer.json", "vocab.txt", "merges.txt", "bpe.codes", "dict.txt", "entity_vocab.json")
_IGNORED = ("adapter_config.json",)  # they would change the model's answers
_PREFIX = "qa-onnx-checkpoint-"


@dataclass(frozen=True, slots=True)
class OpenedCheckpoint:
    """A checkpoint whose files are checked.

    Attributes:
        folder: of the checkpoint.
        name: of its folder, or of its repository on the hub without the owner.
        revision: commit on the hub; None: a folder.
        config: the cleaned content of config.json; empty if there is none.
        texts: the files of configuration and tokenizer as transformers may see them, by name.
        weights: where the weights are; without files if only the tokenizer was opened.
    """

    folder: Path
    name: str
    revision: str | None
    config: Mapping[str, Any]
    texts: Mapping[str, bytes]
    weights: StoredWeights

    def __str__(self) -> str:
        """Return the folder, for messages."""
        return str(self.folder)

    @contextlib.contextmanager
    def staged(self) -> Iterator[Path]:
        """Make the folder that transformers may see, for the time of a load.

        Raises:
            ExportError: there is no room for it.
        """
        place = tempfile.gettempdir()
        with contextlib.ExitStack() as stack:
            with os_errors(ExportError, f"{self.folder} cannot be prepared in {place}"):
                scratch = stack.enter_context(work_folder(Path(place), _PREFIX))
                stage = scratch / (self.folder.resolve().name or "checkpoint")
                stage.mkdir()
                for name, data in self.texts.items():
                    (stage / name).write_bytes(data)
                for name, path in self.weights.files.items():
                    _link(path.resolve(), stage / name)
            yield stage

    def weights_sha256(self) -> str:
        """Return the SHA-256, in hexadecimal, of the digests of the weights' files.

        Raises:
            ExportError: a file is not the one that was checked.
        """
        digest = files_sha256(path for _, path in sorted(self.weights.files.items()))
        self.refuse_changed()
        return digest

    def refuse_changed(self) -> None:
        """Raise an ExportError if a file of the weights is not the one that was checked."""
        with os_errors(ExportError, f"{self.folder} was removed while it was read"):
            changed = self.weights.changed()
        if changed:
            raise ExportError(
                f"{self.folder / changed[0]} was changed while it was read",
                remedy="wait until whatever writes it has ended, and export again",
            )


def open_checkpoint(checkpoint: str | PathLike[str]) -> OpenedCheckpoint:
    """Find a checkpoint and check its files; neither torch nor transformers sees a byte of it.

    Args:
        checkpoint: a folder or an id on the hub.

    Raises:
        ExportError: it does not exist, or is not safe to load.
    """
    folder, revision = find_checkpoint(str(checkpoint))
    return check_folder(folder, name=Path(checkpoint).resolve().name, revision=revision)


def check_folder(folder: Path, *, name: str | None = None, revision: str | None = None) -> OpenedCheckpoint:
    """Check the files of a checkpoint's folder.

    Raises:
        ExportError: it is no checkpoint, or is not safe to load.
    """
    with os_errors(ExportError, f"{folder} cannot be read"):
        check_entries(folder)
        refuse_unsafe(folder)
    opened = check_tokenizer(folder)
    refuse_kind(str(folder), opened.config["model_type"])
    with os_errors(ExportError, f"{folder} cannot be read"):
        weights = read_headers(folder)
    check_sizes(folder / "config.json", opened.config, weights)
    for ignored in _IGNORED:
        if (folder / ignored).exists():
            _LOG.warning("%s: %s is not used, the model is exported without its adapter", folder, ignored)
    texts = opened.texts if weights.index is None else {**opened.texts, INDEX: weights.index}
    return OpenedCheckpoint(folder, name or opened.name, revision, opened.config, texts, weights)


def check_tokenizer(folder: Path) -> OpenedCheckpoint:
    """Check the configuration and the tokenizer's files of a folder alone.

    Raises:
        ExportError: a file is not safe to load.
    """
    with os_errors(ExportError, f"{folder} cannot be read"):
        check_entries(folder)
        names = [*_TEXTS, *sorted(path.name for path in folder.glob("*.model"))]
        texts = {name: data for name in names if (data := read_bytes(folder / name, TEXT_LIMIT)) is not None}
    config: dict[str, Any] = {}
    for name, (limit, clean) in _JSON.items():
        data = read_bytes(folder / name, limit)
        if data is not None:
            content = clean(folder / name, json_object(folder / name, data))
            texts[name] = json.dumps(content).encode()
            config = content if name == "config.json" else config
    return OpenedCheckpoint(folder, folder.resolve().name, None, config, texts, StoredWeights({}, {}, None, ()))


def _link(path: Path, to: Path) -> None:
    """Make a file appear at another place: by a link, or a copy where the system has no links."""
    try:
        to.symlink_to(path)
    except OSError:
        shutil.copyfile(path, to)
