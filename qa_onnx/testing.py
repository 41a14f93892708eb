"""Test doubles: readers without a model, for the tests of programs that use qa-onnx.

`fake_reader` answers with texts that the test chooses, through the real tokenizing, windows and span search:

>>> from qa_onnx.testing import fake_reader
>>> reader = fake_reader("blue", "half past six")
>>> reader.ask("What colour is the boat?", "The boat is blue and the sail is white.").text
'blue'
>>> reader.ask("When?", "Nobody knows.")  # holds none of the texts
Answer(none, probability=1)

It is a `Reader` like any other: `AsyncReader(fake_reader("blue"))` works too. `FakeSession` is the part that
replaces the model, for tests that care about windows and batches.

Left out: models with weights, and anything that pytest would have to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from qa_onnx.options import Options
from qa_onnx.reader import Reader
from qa_onnx.windows import Windower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qa_onnx.spans import Logits
    from qa_onnx.tokens.special_tokens import Ids


def wave_logits(token_ids: Ids) -> tuple[Logits, Logits]:
    """Return start and end logits between -5 and 5 that depend on each token's id and position alone."""
    position = np.arange(token_ids.shape[1])
    start = np.sin(token_ids * 12.9898 + position * 0.37) * 5
    end = np.cos(token_ids * 78.233 + position * 0.11) * 5
    return start.astype(np.float32), end.astype(np.float32)


class FakeSession:
    """A `Session` whose logits are a function of the token ids.

    With the default function a window gets the same logits in any batch, so what differs between two runs comes
    from the code around the model. To make a reader of it: `Reader(session=FakeSession(),
    windower=Windower(json_text))`.

    Args:
        logits: token ids, int64 (B, T) -> start_logits, end_logits, float32 (B, T) each.

    Attributes:
        batches: the inputs of each run so far, in order.
    """

    input_names: tuple[str, ...] = ("input_ids", "attention_mask", "token_type_ids")
    run_overhead = 1 << 30  # so that windows of any length share a batch
    leaves_cpu_idle = False

    def __init__(self, logits: Callable[[Ids], tuple[Logits, Logits]] = wave_logits) -> None:
        self.batches: list[dict[str, Ids]] = []
        self._logits = logits

    def run(self, inputs: Mapping[str, Ids]) -> tuple[Logits, Logits]:
        """See `Session.run`."""
        self.batches.append(dict(inputs))
        return self._logits(inputs["input_ids"])


def fake_reader(*answers: str, options: Options | None = None) -> Reader:
    """Make a reader that answers with the first of some texts that the context holds.

    A context that holds none of them has no answer. Tokens are the bytes of the UTF-8 text, so any text works.

    Args:
        answers: texts to find, as they stand in the contexts.
        options: None: windows of 4,096 tokens, and answers of up to 1,024, which may be parts of words.
    """
    tokenizer = _byte_tokenizer()
    texts = [tokenizer.encode(answer, add_special_tokens=False).ids for answer in answers]
    separator = tokenizer.token_to_id("[SEP]")

    def logits(token_ids: Ids) -> tuple[Logits, Logits]:
        start, end = np.full((2, *token_ids.shape), -10.0, np.float32)
        start[:, 0] = end[:, 0] = 0.0  # "no answer"
        for row, ids in enumerate(token_ids.tolist()):
            context = ids.index(separator) + 1
            for text in texts:
                places = (at for at in range(context, len(ids)) if text and ids[at : at + len(text)] == text)
                if (at := next(places, None)) is not None:
                    start[row, at] = end[row, at + len(text) - 1] = 10.0
                    break
        return start, end

    if options is None:
        options = Options(
            max_length=4096, max_answer_length=1024, batch_tokens=4096, across_blocks=True, align_to_words=False
        )
    return Reader(
        session=FakeSession(logits),
        windower=Windower(tokenizer.to_str()),
        options=options,
        null_threshold=0.0,
    )


def _byte_tokenizer() -> Tokenizer:
    """Make a tokenizer whose tokens are bytes: [CLS] question [SEP] context [SEP]."""
    special = ["[CLS]", "[SEP]"]
    vocabulary = {
        token: number for number, token in enumerate(special + sorted(pre_tokenizers.ByteLevel.alphabet()))
    }
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in special],
    )
    return tokenizer
