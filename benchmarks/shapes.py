"""BERT-base and BERT-large with random weights, to measure speed only; their answers mean nothing.

    python benchmarks/shapes.py [bert-base bert-large] [--to FOLDER]

Makes checkpoints in build/rivals/shapes, or another folder, with the tokenizer of models/minilm-squad. Needs
qa-onnx[export].
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DEFAULT = ROOT / "models" / "minilm-squad"
MADE = ROOT / "build" / "rivals" / "shapes"
SHAPES: dict[str, dict[str, int]] = {
    "bert-base": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    "bert-large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}
_WEIGHTS = ("config.json", "model.safetensors")


def checkpoint(name: str, *, to: Path = MADE) -> Path:
    """Return the folder of a shape; make it if it does not exist."""
    folder = to / name
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    build(SHAPES[name], partial)
    partial.rename(folder)
    return folder


def build(shape: dict[str, Any], folder: Path) -> None:
    """Write a checkpoint with random weights, always the same, to a folder."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    vocabulary = json.loads((DEFAULT / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    torch.manual_seed(0)
    model = BertForQuestionAnswering(BertConfig(vocab_size=vocabulary, **shape))
    model.save_pretrained(folder)
    for path in DEFAULT.iterdir():
        if path.is_file() and path.name not in _WEIGHTS and path.suffix in (".json", ".txt"):
            shutil.copyfile(path, folder / path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*SHAPES, []], metavar="NAME")
    parser.add_argument(
        "--to", type=Path, default=MADE, metavar="FOLDER", help=f"[default: {MADE.relative_to(ROOT)}]"
    )
    chosen = parser.parse_args()
    for name in chosen.names or SHAPES:
        print(checkpoint(name, to=chosen.to))


if __name__ == "__main__":
    main()
