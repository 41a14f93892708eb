"""Tiny question answering models with random weights, one of each kind that the exporter knows.

Their answers mean nothing, but they have every part of the real ones: the tokenizer's kind, its pair template,
special inputs and positions. `python tests/tiny.py` makes the bundle in tests/data again.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from qa_onnx.export.texts import PARITY_EXAMPLES

KINDS = ("bert", "distilbert", "electra", "roberta", "xlm-roberta", "albert", "mpnet", "deberta-v2", "modernbert")
BYTE_LEVEL = ("roberta", "modernbert")

_CORPUS = [text for example in PARITY_EXAMPLES for text in (example.question, example.context)]
_VOCABULARY = 400
_LONGEST_PIECE = 6  # characters
_BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 130,
}


def make_checkpoint(kind: str, folder: Path) -> Path:
    """Write a random model of a kind, with its tokenizer, as transformers would."""
    import torch
    import transformers

    tokenizer, names = _tokenizer(kind)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **names)
    wrapped.save_pretrained(folder)
    config = transformers.AutoConfig.for_model(kind, **_config(kind, tokenizer, names))
    torch.manual_seed(20)
    model = transformers.AutoModelForQuestionAnswering.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Larger weights than a fresh model's, so that logits differ from token to token.
            if parameter.ndim > 1 and "embedding" not in name:
                parameter.mul_(8)
    model.save_pretrained(folder)
    return folder


def _tokenizer(kind: str) -> tuple[Tokenizer, dict[str, str]]:
    if kind in BYTE_LEVEL:
        return _byte_level(kind)
    if kind in {"xlm-roberta", "albert", "deberta-v2"}:
        return _unigram(kind)
    roberta_like = kind == "mpnet"
    specials = _ROBERTA_SPECIALS if roberta_like else _BERT_SPECIALS
    unknown = "<unk>" if roberta_like else "[UNK]"
    normalizer = normalizers.BertNormalizer(lowercase=True)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts = _common_pieces(normalizer, pre_tokenizer, _VOCABULARY - len(specials), inner="##")
    vocabulary = {piece: index for index, piece in enumerate([*specials, *counts])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    return _finish(tokenizer, specials)


def _byte_level(kind: str) -> tuple[Tokenizer, dict[str, str]]:
    specials = _ROBERTA_SPECIALS if kind == "roberta" else _BERT_SPECIALS
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=_VOCABULARY,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return _finish(tokenizer, specials, byte_level=True)


def _unigram(kind: str) -> tuple[Tokenizer, dict[str, str]]:
    specials = _ROBERTA_SPECIALS if kind == "xlm-roberta" else _BERT_SPECIALS
    normalizer, pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    counts = _common_pieces(normalizer, pre_tokenizer, _VOCABULARY - len(specials))
    total = sum(counts.values())
    scores = [(piece, math.log(count / total)) for piece, count in counts.items()]
    unknown = specials.index("<unk>" if kind == "xlm-roberta" else "[UNK]")
    tokenizer = Tokenizer(models.Unigram([(name, 0.0) for name in specials] + scores, unk_id=unknown))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.Metaspace()
    return _finish(tokenizer, specials)


def _common_pieces(
    normalizer: normalizers.Normalizer, pre_tokenizer: pre_tokenizers.PreTokenizer, size: int, inner: str = ""
) -> dict[str, int]:
    """All characters of the corpus's words, then their most frequent parts, each with its count.

    The library's trainers of these two kinds break ties as it happens, so that each run would test another model.

    Args:
        normalizer: the tokenizer's first step.
        pre_tokenizer: its second.
        size: how many pieces.
        inner: marks a piece that does not begin a word.
    """
    counts: Counter[str] = Counter()
    for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(" ".join(_CORPUS))):
        for start, end in itertools.combinations(range(len(word) + 1), 2):
            if end - start <= _LONGEST_PIECE:
                counts[inner * (start > 0) + word[start:end]] += 1
    ordered = sorted(counts.items(), key=lambda item: (len(item[0].removeprefix(inner)) > 1, -item[1], item[0]))
    return dict(ordered[:size])


def _finish(
    tokenizer: Tokenizer, specials: list[str], *, byte_level: bool = False
) -> tuple[Tokenizer, dict[str, str]]:
    """Set the pair template; return the special tokens' names for transformers."""
    separator: tuple[str, ...]
    if specials is _ROBERTA_SPECIALS:
        start, end, separator = "<s>", "</s>", ("</s>", "</s>")
        names = {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
        types = ("0", "0", "0")
    else:
        start, end, separator = "[CLS]", "[SEP]", ("[SEP]",)
        names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
        types = ("0", "1", "1")
    vocabulary = tokenizer.get_vocab()
    ids = {token: vocabulary[token] for token in (start, end)}
    if byte_level and specials is _ROBERTA_SPECIALS:
        tokenizer.post_processor = processors.RobertaProcessing(
            (end, ids[end]), (start, ids[start]), trim_offsets=True, add_prefix_space=False
        )
    else:
        between = " ".join(f"{token}:0" for token in separator)
        template = processors.TemplateProcessing(
            single=f"{start}:0 $A:0 {end}:0",
            pair=f"{start}:0 $A:{types[0]} {between} $B:{types[1]} {end}:{types[2]}",
            special_tokens=list(ids.items()),
        )
        trim = [processors.ByteLevel(trim_offsets=True), template] if byte_level else [template]
        tokenizer.post_processor = processors.Sequence(trim)
    return tokenizer, {**names, "cls_token": start, "sep_token": end}


def _config(kind: str, tokenizer: Tokenizer, names: dict[str, str]) -> dict[str, Any]:
    sizes = dict(_SIZES)
    if kind == "distilbert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 130}
    if kind in {"albert", "electra"}:
        sizes["embedding_size"] = 24
    if kind == "deberta-v2":
        sizes |= {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 16,
            "max_relative_positions": 64,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
            "type_vocab_size": 0,
        }
    if kind == "big_bird":
        sizes |= {"block_size": 16, "num_random_blocks": 1, "max_position_embeddings": 514}
    ids = {name: tokenizer.token_to_id(names[f"{name}_token"]) for name in ("pad", "cls", "sep")}
    extra = {f"{name}_token_id": value for name, value in ids.items()}
    extra |= {"bos_token_id": ids["cls"], "eos_token_id": ids["sep"]}
    if kind in {"roberta", "xlm-roberta"}:
        sizes["type_vocab_size"] = 1
    return {"vocab_size": tokenizer.get_vocab_size(), **sizes, **extra}


if __name__ == "__main__":
    import tempfile

    from qa_onnx.export import export

    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = make_checkpoint("bert", Path(scratch, "tiny-bert"))
        bundle = export(
            checkpoint,
            Path(__file__).parent / "data" / "tiny-bert",
            precisions=("fp32", "int8"),
            max_length=64,
            replace=True,
        )
    sys.stdout.write(json.dumps({name: graph.file.size for name, graph in bundle.manifest.graphs.items()}) + "\n")
