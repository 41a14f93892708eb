"""Predicted and gold texts -> exact match and F1, as the official SQuAD scripts define them.

evaluate-v1.1.py and evaluate-v2.0.py normalize texts in the same way, compare the texts or their bags of tokens,
and take the best gold answer. They differ only if a gold text normalizes to the empty text:

- v2.0 drops such golds; if none is left, or there was none, the gold is the empty text. v1.1 keeps them.
- If neither side has a token, F1 is 1 in v2.0 and 0 in v1.1; exact match is 1 in both.

This module follows v2.0. On v1.1 data the results differ from evaluate-v1.1.py only for a question with a gold of
nothing but punctuation and articles, and only if the prediction is also of that kind. Such golds are rare: "."
beside real answers in 2 of 5,665 questions of half the v1.1 dev set, "." or "$" alone in 2 of its 87,598 training
questions. So a figure of v1.1 can shift by a few hundredths of a point at most.

In scripts without blanks between words, a text would be one token. There each character is a token, as in MLQA's
official script (Lewis et al. 2020, mlqa_evaluation_v1.py, `mixed_segmentation`, which does so for Chinese): words
of other scripts stay words, punctuation of all Unicode is removed, articles are not. The script of its context
decides for each question (`is_unspaced`), so figures of English data are those of SQuAD's scripts.

Left out: which texts to compare, and averages over a data set (evaluate.py).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_WORD = re.compile(r"\w+")
# A character of a script without blanks between words: Thai, Lao, Tibetan, Burmese and Khmer (not their digits),
# kana, Bopomofo, and Han with its marks of repetition, its compatibility forms and its supplements.
_UNSPACED = re.compile(
    "[\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd\u0edc-\u0edf\u0f00-\u0f1f\u0f35-\u0fbc\u1000-\u103f\u1050-\u108f"
    "\u1780-\u17d3\u17d7\u17dc\u17dd\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u303b\u3041-\u30ff\u3105-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f"
    "\U00020000-\U0003ffff]"
)


def is_unspaced(text: str) -> bool:
    """Return whether most tokens of a text are characters of scripts without blanks between words.

    A word of another script counts as one token, so a Chinese text with English names is unspaced, and an English
    one with Chinese names is not.
    """
    if text.isascii():
        return False
    rest, characters = _UNSPACED.subn(" ", text)
    return characters > len(_WORD.findall(rest))


def tokens(text: str, *, by_characters: bool = False) -> list[str]:
    """Return the words of a text, separated by blanks; `by_characters`: and its unspaced characters one by one."""
    return (_UNSPACED.sub(r" \g<0> ", text) if by_characters else text).split()


def normalize_answer(text: str, *, by_characters: bool = False) -> str:
    """Return a text in lower case, without punctuation, articles and repeated blanks.

    In the order of the official scripts, because it matters: "A." first loses its point and is then an article.
    Only ASCII punctuation is removed; a dash or quotation mark beyond ASCII stays.

    Args:
        text: of an answer.
        by_characters: as MLQA's script for Chinese: all punctuation is removed, articles stay, and blanks separate
            the tokens.
    """
    if by_characters:
        kept = (
            char for char in text.lower().translate(_WITHOUT_PUNCTUATION) if unicodedata.category(char)[0] != "P"
        )
        return " ".join(tokens("".join(kept), by_characters=True))
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(predicted: str, golds: tuple[str, ...] | list[str], *, by_characters: bool = False) -> float:
    """Return 1.0 if a text equals one of the gold answers after normalization, else 0.0.

    Args:
        predicted: the predicted answer; empty for "no answer".
        golds: the right answers; empty if the question has none.
        by_characters: normalize for a script without blanks, as `is_unspaced` says of the context.
    """
    return float(
        normalize_answer(predicted, by_characters=by_characters)
        in _normalized_golds(golds, by_characters=by_characters)
    )


def f1(predicted: str, golds: tuple[str, ...] | list[str], *, by_characters: bool = False) -> float:
    """Return F1 of a text and the most similar gold answer as bags of normalized tokens, 0.0 to 1.0.

    F1 is the harmonic mean of precision c/p and recall c/g, which is 2c / (p + g) with c tokens in common, p
    predicted and g in the gold answer. It is 1.0 if neither side has a token.

    Args:
        predicted: the predicted answer; empty for "no answer".
        golds: the right answers; empty if the question has none.
        by_characters: a character of a script without blanks is a token, as `is_unspaced` says of the context.
    """
    bag = Counter(normalize_answer(predicted, by_characters=by_characters).split())
    return max(
        _overlap(bag, Counter(gold.split())) for gold in _normalized_golds(golds, by_characters=by_characters)
    )


def _normalized_golds(golds: tuple[str, ...] | list[str], *, by_characters: bool) -> list[str]:
    """Return the normalized golds that hold a token; if there is none, the empty text, as in v2.0."""
    normalized = (normalize_answer(gold, by_characters=by_characters) for gold in golds)
    return list(filter(None, normalized)) or [""]


def _overlap(predicted: Counter[str], gold: Counter[str]) -> float:
    """Return F1 of two bags of tokens."""
    size = predicted.total() + gold.total()
    return 2 * (predicted & gold).total() / size if size else 1.0


def bootstrap_interval(
    values: NDArray[np.float64], *, seed: int = 0, samples: int = 1000, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean: lower and upper end, in the unit of the values.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Resamples are drawn one by one,
    so memory grows with n + samples and not with their product.

    Args:
        values: float64 (n,), one score a question.
        seed: of the generator; the same seed gives the same interval.
        samples: number of resamples.
        confidence: share of the resampled means inside the interval, between 0 and 1.

    Raises:
        InputError: there are no values, a value is not finite, or an option is out of range.
    """
    _check(values=values)
    if samples < 1:
        raise InputError(f"samples is {samples}; it must be at least 1")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; it must lie between 0 and 1, such as 0.95")
    generator = np.random.default_rng(seed)
    count = len(values)
    means = np.empty(samples)
    for sample in range(samples):
        means[sample] = values[generator.integers(count, size=count)].mean()
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def best_null_threshold(
    score_differences: NDArray[np.float64],
    answer_scores: NDArray[np.float64],
    no_answer_scores: NDArray[np.float64],
) -> tuple[float, float]:
    """Return the null threshold with the highest mean score, and that score.

    An answer is withheld if its difference is greater than the threshold. Sorting compares every distinct outcome.
    Ties go to the lowest threshold, which withholds most, as in evaluate-v2.0.py: of two equal means the better
    one shows fewer wrong answers.

    Args:
        score_differences: float64 (n,), null score - best score, finite.
        answer_scores: float64 (n,), EM or F1 (0 to 1) earned if the best span is returned.
        no_answer_scores: float64 (n,), the same if no answer is returned.

    Returns:
        The threshold and its mean score. The threshold lies midway between the two neighbouring differences;
        it is 1 below the lowest if never answering is best, 1 above the highest if always answering is.

    Raises:
        InputError: the arrays are empty, differ in length, or hold a value that is not finite.
    """
    _check(score_differences=score_differences, answer_scores=answer_scores, no_answer_scores=no_answer_scores)
    order = np.argsort(score_differences, kind="stable")
    differences = score_differences[order].astype(np.float64)
    gains = (answer_scores - no_answer_scores)[order].astype(np.float64)
    # totals[k]: the sum of scores when the k lowest differences are answered.
    totals = no_answer_scores.sum(dtype=np.float64) + np.concatenate(([0.0], np.cumsum(gains)))
    # No threshold can fall between equal differences.
    possible = np.flatnonzero(np.concatenate(([True], differences[1:] > differences[:-1], [True])))
    # Rounded, so that floating-point errors of the sums do not decide a tie.
    answered = int(possible[np.argmax(np.round(totals[possible], 9))])
    return _threshold(differences, answered), float(totals[answered] / len(differences))


def _threshold(differences: NDArray[np.float64], answered: int) -> float:
    """Return a threshold between the first `answered` of the ascending differences and the rest."""
    if answered == 0:
        return float(min(differences[0] - 1.0, np.nextafter(differences[0], -np.inf)))
    lower = differences[answered - 1]
    if answered == len(differences):
        return float(lower + 1.0)
    upper = differences[answered]
    middle = lower / 2 + upper / 2
    # The middle of two close neighbours can be rounded to the upper one; the lower is always right.
    return float(middle if lower <= middle < upper else lower)


def _check(**arrays: NDArray[np.float64]) -> None:
    """Refuse arrays that are not vectors of finite numbers, or have no or different lengths."""
    length = len(next(iter(arrays.values())))
    for name, array in arrays.items():
        if array.ndim != 1 or len(array) != length or length == 0:
            raise InputError(
                f"{name} has shape {array.shape}; it must be a vector of one number a question, with at "
                "least one question, and all must have the same length"
            )
        if not np.isfinite(array).all():
            position = int(np.flatnonzero(~np.isfinite(array))[0])
            raise InputError(
                f"{name}[{position}] is {array[position]}; leave out questions without a finite score"
            )
