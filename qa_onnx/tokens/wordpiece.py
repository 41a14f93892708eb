"""Text -> the tokens of BERT's tokenizer, from the remembered tokens of its words.

The tokenizers library goes through a text some eight times and tracks the origin of every character: 2 to 3 us a
token, more than everything else around a run of the model. But BERT's tokenizer never looks across a blank, and
texts repeat their words. So a text is split at its blanks, and a table holds the tokens of each chunk that was
seen before. For

    The lamp's unlit

it has three chunks, and each token is an id, a length in characters, and whether it opens a word:

    The     -> the 3 opens
    lamp's  -> lamp 4 opens,  ' 1 opens,  s 1 opens
    unlit   -> un 2 opens,  ##lit 3

The tokens of the text are those of its chunks, one after the other. Their offsets are computed when they are
needed. Tokens leave out nothing but blanks, so lengths are counted in characters that are not blank. Of these,
"lamp" has those from 3 to 7, and since the text has a blank at 3, they are the characters from 4 to 8.

A new chunk is learned in two steps. A table of characters normalizes it (lower case, no accents) and puts blanks
around punctuation: "lamp's" becomes "lamp ' s", which has three words. Then the library tokenizes the new words,
all those of a text in one call. The library also fills the table of characters, one call for each new character.

Left out: long texts, which are cut first (long_text.py). Left out, and tokenized by the library as a whole: texts
with a character that does not become exactly one (a combining accent, a control character), with a word of over
100 characters, or with a new character when the table is full; and all texts of tokenizers of other kinds.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from qa_onnx.tokens.character_table import CharacterTable, NotOneToOneError
from qa_onnx.tokens.encoding import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from qa_onnx.tokens.character_table import Split

# A token: its id, its length in characters, and whether it opens a word.
_TOKEN = np.dtype([("id", np.int32), ("length", np.uint8), ("opens", np.bool_)], align=True)
_pack = struct.Struct("=iB?2x").pack  # the bytes of one

_LONGEST_WORD = 100  # characters: WordPiece's own limit, beyond which a word is unknown
_MEMORY = 300_000  # characters of all remembered chunks and words: some 35,000 of them, 5 MB; at most 22 MB
_PIECE = 10_000  # characters that are tokenized at once: they bound memory, and for how long other threads wait


class WordPiece:
    """Tokenizes texts from remembered chunks and words. Any number of threads may share it.

    Args:
        normalize: BERT's normalizer.
        split: text -> words with their offsets: BERT's splitter.
        word_tokenizer: tokenizes normalized words with blanks between them.
    """

    def __init__(self, normalize: Callable[[str], str], split: Split, word_tokenizer: Tokenizer) -> None:
        self._word_tokenizer = word_tokenizer
        self._table = CharacterTable(normalize, split)
        self._memory = _Memory()
        self._lock = threading.Lock()  # for those that add to the memory; others read it without

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> WordPiece | None:
        """Make one that gives the same tokens as a tokenizer of the library; truncation is ignored.

        Returns:
            None where the tokenizer does not consist of BERT's parts, looks for added tokens in a text first, or
            moves offsets at last, as RoBERTa's does with a Maltese letter that it takes for its sign of a blank.
        """
        normalizer, splitter, last = tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.post_processor
        if (
            not isinstance(normalizer, normalizers.BertNormalizer)
            or not isinstance(splitter, pre_tokenizers.BertPreTokenizer)
            or not isinstance(tokenizer.model, models.WordPiece)
            or not tokenizer.encode_special_tokens
            or not all(token.special for token in tokenizer.get_added_tokens_decoder().values())
            or (last is not None and b'"trim_offsets"' in last.__getstate__())
        ):
            return None
        word_tokenizer = Tokenizer(tokenizer.model)  # shares the model's memory
        word_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return cls(normalizer.normalize_str, splitter.pre_tokenize_str, word_tokenizer)

    def encode(self, text: str) -> Tokens | None:
        """Return the tokens of a text, without special tokens; None: the text needs the library.

        Raises:
            Exception: the vocabulary has no token for unknown words; the library's own error.
        """
        parts = []
        room = _MEMORY
        for piece in _pieces(text):
            chunks = piece.split(" ")
            old = self._memory.chunks  # another thread may add to it, or start a new one
            try:
                parts.append(b"".join([old[chunk] for chunk in chunks]))
            except KeyError:
                new, learned = self._learn(set(chunks).difference(old), room)
                if new is None:
                    return None
                room -= learned
                parts.append(b"".join([new[chunk] if chunk in new else old[chunk] for chunk in chunks]))
        tokens = np.frombuffer(b"".join(parts), _TOKEN)
        return Tokens(tokens["id"], offsets=lambda: self._offsets(text, tokens), opens=lambda: tokens["opens"])

    def forget(self) -> None:
        """Forget all chunks and words, but not how single characters are normalized."""
        with self._lock:
            self._memory = _Memory()  # a new one, as other threads may be reading the old one

    def is_border(self, character: str) -> bool:
        """Return whether a character is a blank or a word of its own, so that words begin and end beside it."""
        try:
            return self._table[ord(character)].startswith(" ")
        except NotOneToOneError:
            return False

    def words(self, text: str) -> list[str]:
        """Return the normalized words of a text, each as long as in the text.

        Raises:
            NotOneToOneError: the text needs the library.
        """
        return text.translate(self._table).split()

    def _offsets(self, text: str, tokens: NDArray[Any]) -> NDArray[np.int32]:
        """Return the characters, half-open, of the tokens of a text: int32 (N, 2)."""
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        is_visible = codes != ord(" ")
        for blank in self._table.blanks:
            if blank in text:
                is_visible &= codes != ord(blank)
        visible = np.flatnonzero(is_visible)
        ends = np.cumsum(tokens["length"], dtype=np.intp)  # counted in characters that are not blank
        offsets = np.empty((len(tokens), 2), np.int32)
        offsets[:, 0] = visible[ends - tokens["length"]]
        offsets[:, 1] = visible[ends - 1] + 1
        return offsets

    def _learn(self, chunks: Iterable[str], room: int) -> tuple[dict[str, bytes] | None, int]:
        """Return the tokens of new chunks, and remember them if they have no more characters than there is room.

        Returns:
            The tokens, None: the library is needed; and the number of characters.
        """
        try:
            split = {chunk: self.words(chunk) for chunk in chunks}
        except NotOneToOneError:
            return None, 0
        old = self._memory.words
        new = {word for words in split.values() for word in words if word not in old}
        if max(map(len, new), default=0) > _LONGEST_WORD:
            return None, 0
        tokens = self._tokenize([*new])
        chunk_tokens = {
            chunk: b"".join([tokens[word] if word in tokens else old[word] for word in words])
            for chunk, words in split.items()
        }
        short = {chunk: chunk_tokens[chunk] for chunk in chunk_tokens if len(chunk) <= _LONGEST_WORD}
        characters = sum(map(len, short)) + sum(map(len, tokens))
        if characters <= room:
            with self._lock:
                if self._memory.characters + characters > _MEMORY:
                    self._memory = _Memory()  # a new one, as other threads may be reading the old one
                self._memory.add(short, tokens)
        return chunk_tokens, characters

    def _tokenize(self, words: list[str]) -> dict[str, bytes]:
        """Return the tokens of each word, by one call of the library."""
        encoding = self._word_tokenizer.encode(" ".join(words), add_special_tokens=False)
        tokens: list[bytes] = []  # of each word
        last = -1
        for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            opens = start > last  # there is a blank before it
            token = _pack(token_id, end - start, opens)
            if opens:
                tokens.append(token)
            else:
                tokens[-1] += token
            last = end
        return dict(zip(words, tokens, strict=True))


def _pieces(text: str) -> Iterator[str]:
    """Yield the parts of a text, which end at blanks; a short text is one."""
    start = 0
    while len(text) - start > _PIECE and (end := text.find(" ", start + _PIECE)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


class _Memory:
    """The tokens of chunks and words, each as the bytes of an array of `_TOKEN`.

    Attributes:
        chunks: of each chunk between two blanks of a text, the empty one included.
        words: of each normalized word.
        characters: length of all these texts together.
    """

    def __init__(self) -> None:
        self.chunks = {"": b""}
        self.words: dict[str, bytes] = {}
        self.characters = 0

    def add(self, chunks: dict[str, bytes], words: dict[str, bytes]) -> None:
        """Remember chunks and words; those that are there already count once."""
        for table, more in ((self.chunks, chunks), (self.words, words)):
            self.characters += sum(len(text) for text in more if text not in table)
            table.update(more)
