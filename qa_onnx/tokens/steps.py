"""The steps of a tokenizer.json around its model: known types only, and none that panics or grows a text.

A component, such as the normalizer, is one step or a Sequence of them. The tokenizers library knows more types
than are taken here: those that question answering has no use for, such as RandomChunkSplit, are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from qa_onnx.errors import BundleError
from qa_onnx.tokens.charsmap import check_charsmap
from qa_onnx.tokens.patterns import LONGEST_PATTERN, shortest_match

if TYPE_CHECKING:
    from collections.abc import Iterator

GREATEST_GROWTH = 16  # times as many characters, by all replacements of a normalizer together
_MOST_STEPS = 64  # of a component
_LONGEST_TEXT = 32  # characters that a step adds at a place
_MOST_PIECES = 64  # of a template


class _Component(NamedTuple):
    """A part of a tokenizer.json: the key of the steps of its Sequence, and the types that its steps may have."""

    steps: str
    types: frozenset[str]


COMPONENTS = {
    "normalizer": _Component(
        "normalizers",
        frozenset({
            *("BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled"),
            *("Prepend", "Replace", "Strip", "StripAccents"),
        }),
    ),
    "pre_tokenizer": _Component(
        "pretokenizers",
        frozenset({
            *("BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "FixedLength", "Metaspace"),
            *("Punctuation", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"),
        }),
    ),
    "post_processor": _Component(
        "processors", frozenset({"BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing"})
    ),
    "decoder": _Component(
        "decoders",
        frozenset({
            *("BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Replace", "Strip"),
            "WordPiece",
        }),
    ),
}  # fmt: skip
_ONCE = ("ByteLevel", "Precompiled", "Prepend")  # of a normalizer: a second one would lengthen the text again


def check_component(name: str, content: Any) -> None:
    """Check one of `COMPONENTS`.

    Args:
        name: the key of the component.
        content: what the file holds there, as `json` reads it; None: it has no such component.

    Raises:
        BundleError: it has a step that is not known, might panic or take long, or grows a text too much.
    """
    growth = 1.0
    types: list[str] = []
    for place, step in _steps(name, content):
        types.append(step["type"])
        if len(types) > _MOST_STEPS:
            raise BundleError(f"{name} has more than {_MOST_STEPS} steps")
        growth *= _check_step(step, place)
    if name == "normalizer":
        if growth > GREATEST_GROWTH:
            problem = f"{name} can make a text {growth:.3g} times as long"
            raise BundleError(f"{problem}; the limit is {GREATEST_GROWTH}")
        for kind in _ONCE:
            if types.count(kind) > 1:
                raise BundleError(f"{name} has {types.count(kind)} steps of type {kind}; the limit is 1")


def _steps(name: str, content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the steps of a component in their order, each with its place, without the Sequences around them."""
    component = COMPONENTS[name]
    waiting = [] if content is None else [(name, content)]
    sequences = 0
    while waiting:
        place, step = waiting.pop()
        kind = step.get("type") if isinstance(step, dict) else None
        if not isinstance(kind, str) or kind not in {*component.types, "Sequence"}:
            shown = repr(step) if kind is None else f"type {kind!r}"
            known = ", ".join(sorted(component.types))
            raise BundleError(f"{place} is {shown:.80}, which is not known", remedy=f"known are {known}")
        if kind != "Sequence":
            yield place, step
            continue
        parts, sequences = step.get(component.steps), sequences + 1
        if not isinstance(parts, list) or len(parts) > _MOST_STEPS or sequences > _MOST_STEPS:
            raise BundleError(f"{place}: a Sequence needs a list of at most {_MOST_STEPS} {component.steps}")
        waiting += [(f"{place}[{at}]", part) for at, part in reversed([*enumerate(parts)])]


def _check_step(step: dict[str, Any], place: str) -> float:
    """Check a step; return how many characters it can make of one."""
    match step["type"]:
        case "Replace":
            return max(1.0, len(_text(step, "content", place)) / _check_pattern(step.get("pattern"), place))
        case "Split":
            if step.get("pattern") != {"String": ""}:  # which splits a text into its characters
                _check_pattern(step.get("pattern"), place)
        case "Prepend":
            _text(step, "prepend", place)
        case "Precompiled":
            charsmap = step.get("precompiled_charsmap")
            if not isinstance(charsmap, str):
                raise BundleError(f"{place}: precompiled_charsmap is {charsmap!r:.80}; it must be text in base 64")
            check_charsmap(charsmap, place)
        case "FixedLength":
            length = step.get("length")
            if type(length) is not int or not 1 <= length <= 1 << 20:
                raise BundleError(f"{place}: length is {length!r:.80}; it must be a number from 1 to {1 << 20}")
        case "TemplateProcessing":
            _check_template(step, place)
    return 1.0


def _check_pattern(pattern: Any, place: str) -> int:
    """Check the pattern of a Replace or Split; return how many characters it matches at least."""
    match pattern:
        case {"String": str(text), **rest} if not rest and 0 < len(text) <= LONGEST_PATTERN:
            return len(text)
        case {"Regex": str(text), **rest} if not rest:
            return shortest_match(text, place)
    problem = f"{place}: the pattern is {pattern!r:.80}"
    raise BundleError(f"{problem}; it must be a String of 1 to {LONGEST_PATTERN} characters, or a Regex")


def _text(step: dict[str, Any], key: str, place: str) -> str:
    text = step.get(key)
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise BundleError(f"{place}: {key} is {text!r:.80}; it must be text of at most {_LONGEST_TEXT} characters")
    return text


def _check_template(step: dict[str, Any], place: str) -> None:
    """Check the sizes of a template; the library checks that its tokens are there."""
    special = step.get("special_tokens")
    lists = [*special.values()] if isinstance(special, dict) else []
    tokens = [one.get(key) for one in lists if isinstance(one, dict) for key in ("ids", "tokens")]
    for key, part in [("single", step.get("single")), ("pair", step.get("pair")), ("tokens", lists)] + [
        ("special_tokens", part) for part in tokens
    ]:
        if not isinstance(part, list) or len(part) > _MOST_PIECES:
            raise BundleError(
                f"{place}: {key} is {part!r:.80}; it must be a list of at most {_MOST_PIECES} pieces"
            )
