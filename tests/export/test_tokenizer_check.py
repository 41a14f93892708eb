"""The bundle's tokenizer is the checkpoint's, and every difference from transformers' own is found and told."""

from __future__ import annotations

import json
import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

from qa_onnx.export.checkpoint import load_tokenizer
from qa_onnx.export.opened import check_tokenizer
from qa_onnx.export.texts import ENGLISH_TEXTS, TOKENIZER_TEXTS
from qa_onnx.export.tokenizer_check import (
    Difference,
    difference,
    file_splitter,
    same_tokenizer,
    transformers_splitter,
    unknown_share,
)
from qa_onnx.tokens.tokenizer_file import checked_tokenizer
from tests import tiny
from tests.exports import checkpoint, copy, edit_json, exported, scratch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.export

# Ranges of letters, marks, signs and controls of many scripts.
_RANGES = (
    *((0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x531, 0x6FF), (0x900, 0xDFF)),
    *((0xE00, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x20A0, 0x23FF), (0x2460, 0x27BF), (0x3000, 0x33FF)),
    *((0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFE0F), (0xFF01, 0xFFEE)),
    *((0x0, 0x1F), (0x7F, 0x9F), (0x10330, 0x1034A), (0x1F300, 0x1F6FF), (0x1F1E6, 0x1F1FF), (0xE0020, 0xE007F)),
)


def mixed_lines(count: int = 2000) -> list[str]:
    """Lines of words of one range each, cut from the same texts and from anywhere in Unicode."""
    choose = random.Random(7)
    words = " ".join(TOKENIZER_TEXTS).split(" ")
    lines = []
    for _ in range(count):
        low, high = choose.choice(_RANGES)
        foreign = ["".join(chr(choose.randint(low, high)) for _ in range(choose.randint(1, 6))) for _ in range(3)]
        line = foreign + choose.choices(words, k=5)
        choose.shuffle(line)
        lines.append(choose.choice(" \t\n").join(line) if choose.random() < 0.1 else " ".join(line))
    return lines


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_the_bundle_has_the_checkpoints_file_byte_for_byte(kind: str) -> None:
    made = exported(kind)
    path = made.bundle.path / made.bundle.manifest.tokenizer.name
    assert path.read_bytes() == (made.checkpoint / "tokenizer.json").read_bytes()
    kept = checked_tokenizer(made.bundle.text(made.bundle.manifest.tokenizer))
    theirs = Tokenizer.from_file(str(made.checkpoint / "tokenizer.json"))
    lines = mixed_lines()
    assert len(set(lines)) == 2000
    ours, expected = (tokenizer.encode_batch(lines) for tokenizer in (kept, theirs))
    assert [encoding.ids for encoding in ours] == [encoding.ids for encoding in expected]


# Differences


def _pre_tokenizer(value: Any) -> Callable[[Tokenizer], None]:
    return lambda tokenizer: setattr(tokenizer, "pre_tokenizer", value)


def _normalizer(value: Any) -> Callable[[Tokenizer], None]:
    return lambda tokenizer: setattr(tokenizer, "normalizer", value)


_NFKC = normalizers.Sequence([normalizers.Strip(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])


def tokenizer_of(folder: Path) -> tuple[Any, str]:
    """transformers' tokenizer of a folder, and the text of its tokenizer.json."""
    opened = check_tokenizer(folder)
    with opened.staged() as stage:
        return load_tokenizer(opened, stage)


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("deberta-v2", "DebertaV2Tokenizer", _normalizer(_NFKC)),
        ("bert", "BertTokenizer", _pre_tokenizer(pre_tokenizers.WhitespaceSplit())),
        (
            "bert",
            "BertTokenizer",
            _normalizer(normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])),
        ),
        ("bert", "BertTokenizer", _normalizer(normalizers.BertNormalizer(lowercase=True, strip_accents=False))),
        ("bert", "BertTokenizer", _normalizer(normalizers.BertNormalizer(lowercase=True, clean_text=False))),
        ("roberta", "RobertaTokenizer", _pre_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=True))),
        ("albert", "AlbertTokenizer", _normalizer(normalizers.NFC())),
    ],
)
def test_rules_that_transformers_drops_are_kept_and_told(
    kind: str, name: str, change: Callable[[Tokenizer], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy(checkpoint(kind), tmp_path / kind)
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    change(tokenizer)
    tokenizer.save(str(path))
    edit_json(folder / "tokenizer_config.json", lambda content: content.update(tokenizer_class=name))
    theirs, text = tokenizer_of(folder)
    assert text == path.read_text(encoding="utf-8")
    assert type(theirs).__name__ == name
    message = caplog.messages[0]
    assert message.startswith(f"{folder}: the bundle keeps the checkpoint's tokenizer; transformers' {name} gives")
    found = difference(file_splitter(checked_tokenizer(text)), transformers_splitter(theirs))
    assert found
    assert str(found) in message
    assert found.ours != found.theirs


def test_a_class_with_another_vocabulary_does_not_hide_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A RoBERTa with a tokenizer.json of WordPiece: transformers 5 builds one that spells."""
    folder = copy(checkpoint("roberta"), tmp_path / "roberta")
    shutil.copy(checkpoint("bert") / "tokenizer.json", folder)
    edit_json(folder / "tokenizer_config.json", lambda content: content.update(tokenizer_class="RobertaTokenizer"))
    _, text = tokenizer_of(folder)
    assert text == (folder / "tokenizer.json").read_text(encoding="utf-8")
    assert "transformers' RobertaTokenizer gives other tokens for" in caplog.text


def test_what_transformers_refuses_is_used_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = copy(checkpoint("bert"), tmp_path / "bert")
    edit_json(
        folder / "tokenizer_config.json",
        lambda content: content.update(tokenizer_class="BertTokenizer", do_lower_case={"not": "a boolean"}),
    )
    tokenizer, text = tokenizer_of(folder)
    assert text == (folder / "tokenizer.json").read_text(encoding="utf-8")
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id) == (0, 2)


def words(text: Any) -> tuple[list[int], list[str]]:
    pieces = " ".join(text).split() if isinstance(text, tuple) else text.split()
    return [len(piece) for piece in pieces], pieces


def test_the_first_difference_is_shown_with_what_is_around_it() -> None:
    def longer(text: Any) -> tuple[list[int], list[str]]:
        ids, pieces = words(text)
        return [*ids[:-1], 99] if "mast" in pieces else ids, [
            *pieces[:-1],
            "other",
        ] if "mast" in pieces else pieces

    texts = ("one text", "a b c d steel mast here", ("who stands", "at the mast"))
    assert difference(words, words, texts) is None
    found = difference(words, longer, texts)
    assert found == Difference(2, 3, texts[1], ("mast", "here"), ("mast", "other"))
    assert str(found) == "2 of 3 sample texts; in 'a b c d steel mast here', 'mast here' against 'mast other'"


def test_other_ids_of_the_same_tokens_and_missing_tokens_are_differences() -> None:
    shifted = difference(words, lambda text: ([i + 1 for i in words(text)[0]], words(text)[1]), ("ab c",))
    assert shifted == Difference(1, 1, "ab c", ("2", "1"), ("3", "2"))
    shorter = difference(words, lambda text: (words(text)[0][:-1], words(text)[1][:-1]), ("ab c",))
    assert shorter == Difference(1, 1, "ab c", ("ab", "c"), ("ab",))


def test_a_tokenizer_that_fails_on_a_text_is_a_difference() -> None:
    def fail(text: Any) -> tuple[list[int], list[str]]:
        raise ValueError("no token for it")

    found = difference(words, fail, ("ab",))
    assert found
    assert found.theirs == ("<no tokens: no token for it>",)


def test_other_segments_of_a_pair_are_a_difference() -> None:
    text = (checkpoint("bert") / "tokenizer.json").read_text(encoding="utf-8")
    content = json.loads(text)
    content["post_processor"]["processors"][0]["pair"][3]["Sequence"]["type_id"] = 0
    ours, theirs = (file_splitter(checked_tokenizer(one)) for one in (text, json.dumps(content)))
    found = difference(ours, theirs)
    assert found
    assert (found.texts, found.text) == (1, ("Who came?", "Nobody did."))


def test_padding_and_layout_of_the_file_do_not_make_another_tokenizer() -> None:
    text = (checkpoint("bert") / "tokenizer.json").read_text(encoding="utf-8")
    padded = Tokenizer.from_str(text)
    padded.enable_padding(length=60)
    padded.enable_truncation(20)
    assert same_tokenizer(text, padded.to_str(pretty=True))
    padded.normalizer = normalizers.Lowercase()
    assert not same_tokenizer(text, padded.to_str())


# Unknown tokens


def test_a_vocabulary_of_lower_case_words_that_keeps_capitals_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy(checkpoint("bert"), tmp_path / "bert")
    tokenizer_of(folder)
    assert caplog.messages == []
    edit_json(folder / "tokenizer.json", lambda content: content["normalizer"].update(lowercase=False))
    text = tokenizer_of(folder)[1]
    (message,) = caplog.messages
    assert "of the tokens of plain English are unknown to the tokenizer" in message
    assert "do_lower_case" in message
    assert 0.03 < unknown_share(text, checked_tokenizer(text)) < 0.2


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_no_english_word_is_unknown_to_the_tiny_models(kind: str) -> None:
    text = (checkpoint(kind) / "tokenizer.json").read_text(encoding="utf-8")
    assert unknown_share(text, checked_tokenizer(text)) == 0
    if kind not in tiny.BYTE_LEVEL:
        assert unknown_share(text, checked_tokenizer(text), ["ꙮ", ENGLISH_TEXTS[0]]) > 0


# A sentencepiece model alone

_CASES = {
    "deberta-v2": ("spm.model", "DebertaV2Tokenizer", {"pad_id": 0, "unk_id": 3, "bos_id": 1, "eos_id": 2}),
    "xlm-roberta": ("sentencepiece.bpe.model", "XLMRobertaTokenizer", {"unk_id": 0, "bos_id": 1, "eos_id": 2}),
}
_PIECES = {"pad_piece": "[PAD]", "unk_piece": "[UNK]", "bos_piece": "[CLS]", "eos_piece": "[SEP]"}


def sentencepiece_folder(kind: str) -> Path:
    """A folder with the tokenizer of a kind as a sentencepiece model alone; not to be changed."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = scratch() / f"spm-{kind}"
    name, tokenizer_class, options = _CASES[kind]
    if not folder.exists():
        folder.mkdir()
        corpus = folder / "corpus.txt"
        corpus.write_text("\n".join(" ".join(text.replace("\0", "").split()) for text in TOKENIZER_TEXTS * 3))
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus),
            model_prefix=str(folder / "spm"),
            vocab_size=400,
            hard_vocab_limit=False,
            character_coverage=0.98,
            minloglevel=2,
            **options,
            **(_PIECES if "pad_id" in options else {}),
        )
        (folder / "spm.model").rename(folder / name)
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        config = {"tokenizer_class": tokenizer_class, "model_max_length": 128}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("kind", _CASES)
def test_a_sentencepiece_model_alone_gives_sentencepieces_own_pieces(kind: str) -> None:
    """Composed letters, since the libraries put combining marks in another order."""
    import sentencepiece

    folder = sentencepiece_folder(kind)
    tokenizer = checked_tokenizer(tokenizer_of(folder)[1])
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / _CASES[kind][0]))
    for line in (*ENGLISH_TEXTS, "½ price… № 7 ﬁne ＡＢＣ １２ x²", "Łódź Ærø", "На стене 東京の支店 कार्य"):
        expected = [processor.id_to_piece(index) for index in processor.encode(line)]
        ids = tokenizer.encode(line, add_special_tokens=False).ids
        assert [tokenizer.id_to_token(index) for index in ids] == expected, line


def test_the_file_that_was_checked_is_used_and_not_what_stands_there_now(tmp_path: Path) -> None:
    folder = copy(checkpoint("bert"), tmp_path / "bert")
    checked = (folder / "tokenizer.json").read_text(encoding="utf-8")
    opened = check_tokenizer(folder)
    shutil.copy(checkpoint("roberta") / "tokenizer.json", folder)
    with opened.staged() as stage:
        assert load_tokenizer(opened, stage)[1] == checked
