"""Name of a data file -> its form, for commands that choose files by their names.

Left out: reading one, which goes by its content (read.py).
"""

from __future__ import annotations

FORMS = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
PACKINGS = (".gz", ".zst")
ENDINGS = tuple(form + packing for packing in ("", *PACKINGS) for form in FORMS)
TAKEN = f"{', '.join(FORMS)}, each also {' or '.join(PACKINGS)}"


def form_of(name: str) -> str | None:
    """Return the form of a file by the ending of its name, one of the values of `FORMS`; None: another one."""
    plain = name.lower()
    for packing in PACKINGS:
        plain = plain.removesuffix(packing)
    return next((form for ending, form in FORMS.items() if plain.endswith(ending)), None)


def is_packed(name: str) -> bool:
    """Return whether a file is gzip or Zstandard, by the ending of its name."""
    return name.lower().endswith(PACKINGS)
