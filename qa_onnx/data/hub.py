"""Name of a data set on the Hugging Face hub -> records, through the package `datasets` where it is installed.

A name is OWNER/NAME, OWNER/NAME:SPLIT or OWNER/NAME:CONFIG:SPLIT, such as rajpurkar/squad:validation. `datasets`
downloads, checks and caches; HF_HUB_OFFLINE and HF_TOKEN work as everywhere.

Left out: data sets that are made by code of their own, which `datasets` has not run since release 4.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from qa_onnx.data.endings import FORMS, PACKINGS
from qa_onnx.data.records import Record
from qa_onnx.errors import InputError, MissingExtraError, quoted
from qa_onnx.machine.files import did_you_mean
from qa_onnx.machine.packages import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAME = re.compile(r"[\w.-]+/[\w.-]+(?::[\w.-]+){0,2}")
_OF_FILES = (*FORMS, ".txt", *PACKINGS)
_LONGEST = 300  # characters
_OLDEST = 4  # release of `datasets` that stopped running the code of data sets


def is_name(text: str) -> bool:
    """Return whether a text has the form of a data set's name, and no file or folder is called so."""
    if len(text) > _LONGEST or not _NAME.fullmatch(text) or text.endswith(_OF_FILES):
        return False
    return not os.path.lexists(text)


def records_of_hub(name: str, update: Callable[[bytes], object] | None = None) -> Iterator[Record]:
    """Yield the rows of a data set.

    Args:
        name: as `is_name` accepts it.
        update: called with each row as JSON, for a hash of what was read; None: no hash is wanted.

    Raises:
        MissingExtraError: `datasets` is not installed, or runs the code of data sets.
        InputError: the data set cannot be loaded, or has several splits and none is named.
    """
    for number, row in enumerate(_rows(name), 1):
        if update is not None:
            update(json.dumps(row, sort_keys=True, default=str).encode())
        yield Record(f"row {number}", row)


def _rows(name: str) -> Any:
    installed = version("datasets")
    if installed is None or int(installed.partition(".")[0]) < _OLDEST:
        problem = "not installed" if installed is None else f"{installed} runs the code of data sets"
        raise MissingExtraError(
            f"there is no file {name}, and to load a data set of this name from the hub: datasets is {problem}",
            remedy=did_you_mean(name) or f"pip install 'datasets>={_OLDEST}'",
        )
    import datasets

    repository, *rest = name.split(":")
    split = rest.pop() if rest else None
    try:
        loaded = datasets.load_dataset(repository, rest[0] if rest else None, split=split)
    except Exception as error:  # of the hub, the network, the disk, or any file format
        problem = f"there is no file {name}, and no data set of this name could be loaded from the hub"
        remedy = did_you_mean(name) or "name a file, or OWNER/NAME:SPLIT"
        raise InputError(f"{problem}: {quoted(str(error))}", remedy=remedy) from error
    if not isinstance(loaded, dict):
        return loaded
    if len(loaded) != 1:
        splits = list(loaded)
        raise InputError(f"{name} has the splits {quoted(splits)}", remedy=f"name one: {name}:{splits[0]}")
    return next(iter(loaded.values()))
