"""What is left of the old pipeline's attributes: facts about the model, and advice for the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qa_onnx.pipelines.loading import Loaded

_ADVICE = {
    "save_pretrained": "a bundle is a folder, so copy it; qa-onnx export writes one",
    "push_to_hub": "a bundle is a folder, so upload it with huggingface_hub's upload_folder",
    **dict.fromkeys(
        ("preprocess", "forward", "postprocess", "get_iterator", "decode"),
        "its steps are those of Reader: .reader.logits yields windows and logits",
    ),
    **dict.fromkeys(
        ("framework", "torch_dtype", "dtype"),
        "ONNX Runtime runs the model; .reader.precision and .reader.backend tell",
    ),
    **dict.fromkeys(
        ("feature_extractor", "image_processor", "processor", "modelcard"), "question answering on text has none"
    ),
}
_OTHERS = "there is no PyTorch model behind it; .reader is the Reader"


class Facts:
    """A few facts under their names in transformers; any other name is an AttributeError with advice."""

    def __init__(self, **facts: Any) -> None:
        self.__dict__.update(facts)

    def __call__(self, *_: object, **__: object) -> Any:
        """Raise the TypeError with advice: the model and the tokenizer of the old pipeline could be called."""
        raise TypeError(f"this has only {', '.join(vars(self))}, and cannot be called: {_OTHERS}")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no {name!r}, only {', '.join(vars(self))}: {_OTHERS}")


def advice(name: str) -> str:
    """Return what to write instead of an attribute of the old pipeline."""
    return _ADVICE.get(name, _OTHERS)


def facts(loaded: Loaded) -> tuple[Facts, Facts]:
    """Return the facts about a model and its tokenizer; what only a bundle tells is None without one."""
    name, longest = loaded.name, loaded.reader.max_positions
    kind = loaded.bundle.manifest.architecture["model_type"] if loaded.bundle else None
    config = Facts(name_or_path=name, model_type=kind, max_position_embeddings=longest)
    return (
        Facts(name_or_path=name, config=config),
        Facts(name_or_path=name, model_max_length=longest, is_fast=True),
    )
