r"""Regular expressions of a tokenizer.json: only those that surely take time linear in the text.

The tokenizers library gives them to Oniguruma, which backtracks: `(x+x+)+y` panics on 40 letters, `\s+x` takes
hours for a megabyte of blanks, and a pattern can fill the memory when it is compiled. Two kinds are taken:

- the patterns of well-known byte-level tokenizers, letter by letter;
- alternatives of characters and classes, where a branch is an optional one, fixed ones, and at last one that may
  repeat: ` {2,}`, `\d`, ` ?\p{L}+`, `[\r\n]+|\s+`. Such a branch never gives back what it took.

Left out: whether Oniguruma knows a class; it says so when the tokenizer is made.
"""

from __future__ import annotations

import re

from qa_onnx.errors import BundleError

LONGEST_PATTERN = 1000  # characters; the longest of a well-known tokenizer has 350
_MOST_REPEATS = 1000

# GPT-2, RoBERTa, BART, Longformer, DeBERTa; GPT-4's cl100k; Llama 3; Qwen 2; StarCoder; CLIP; GPT-4o's o200k.
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SHORT_CONTRACTIONS = r"'(?i:[sdmt]|ll|ve|re)"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_LOWER, _UPPER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_OPENING, _ENDING = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_KNOWN = frozenset({
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_BLANKS}",
    rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_BLANKS}",
    rf"{_SHORT_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]++[\r\n]*|"
    r"\s*[\r\n]|\s+(?!\S)|\s+",
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    rf"{_OPENING}{_UPPER}*{_LOWER}+{_ENDING}|{_OPENING}{_UPPER}+{_LOWER}*{_ENDING}|\p{{N}}{{1,3}}|"
    rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_BLANKS}",
})  # fmt: skip

_ATOM = (
    r"(?:\\[pP]\{\^?\w+\}|\\[sSdDwWrntvfhH]|\\[^\w\s]"
    r"|\[\^?(?:\\[pP]\{\^?\w+\}|\\[sSdDwWrntvfhH]|\\[^\w\s]|[^\[\]\\&])+\]"
    r"|[^\\\[\](){}|*+?^$])"
)
_QUANTIFIER = re.compile(r"[+*?]|\{(\d{1,4})(,(\d{0,4}))?\}")
_ONE = re.compile(_ATOM)


def shortest_match(pattern: str, place: str) -> int:
    """Return how many characters a pattern matches at least, which is 1 or more.

    Args:
        pattern: a regular expression, as a tokenizer.json holds it.
        place: where it is, for the message.

    Raises:
        BundleError: it may take long, or match nothing at all.
    """
    if pattern in _KNOWN:
        return 1
    shortest = 0
    if len(pattern) <= LONGEST_PATTERN:
        shortest = min((_shortest_of_branch(branch) for branch in _branches(pattern)), default=0)
    if not shortest:
        raise BundleError(
            f"{place}: the regular expression {pattern!r:.80} is not one that surely takes linear time",
            remedy="known are those of GPT-2, GPT-4, Llama 3, Qwen 2 and CLIP, and alternatives of an optional "
            r"character, fixed ones and one that repeats at last, such as ' ?\p{L}+|\d'",
        )
    return shortest


def _branches(pattern: str) -> list[list[tuple[int, int | None]]]:
    """Return how often each character of each branch may match, at least and at most (None: any number).

    A pattern that is not made of characters, classes and quantifiers alone has no branches.
    """
    branches: list[list[tuple[int, int | None]]] = [[]]
    at = 0
    while at < len(pattern):
        if pattern[at] == "|":
            branches.append([])
            at += 1
            continue
        atom = _ONE.match(pattern, at)
        if atom is None:
            return []
        at = atom.end()
        quantifier = _QUANTIFIER.match(pattern, at)
        if quantifier is not None:
            at = quantifier.end()
        branches[-1].append(_repeats(quantifier))
    return branches


def _repeats(quantifier: re.Match[str] | None) -> tuple[int, int | None]:
    if quantifier is None:
        return 1, 1
    if quantifier[1] is None:
        return {"+": (1, None), "*": (0, None), "?": (0, 1)}[quantifier[0]]
    least = int(quantifier[1])
    return least, (int(quantifier[3]) if quantifier[3] else None) if quantifier[2] else least


def _shortest_of_branch(branch: list[tuple[int, int | None]]) -> int:
    """Return how many characters a branch matches at least; 0: it may match nothing, or take long."""
    middle = branch[1:-1] if branch[:1] == [(0, 1)] else branch[:-1]
    last_most = branch[-1][1] if branch else 0
    too_many = any(least > _MOST_REPEATS for least, _ in branch) or (last_most or 0) > _MOST_REPEATS
    if too_many or any(repeats != (1, 1) for repeats in middle):
        return 0
    return sum(least for least, _ in branch)
