"""Predicted and gold texts -> exact match and F1, as the official SQuAD scripts define them.

Both scripts, evaluate-v1.1.py and evaluate-v2.0.py, normalise texts in one way, compare them or their bags of
tokens, and take the best gold answer. They differ only where a gold text normalises to nothing:

- v2.0 drops such golds; when none is left, or there were none, the gold is the empty text. v1.1 keeps them.
- With no tokens on either side F1 is 1 in v2.0 and 0 in v1.1; exact match is 1 in both.

This module follows v2.0 throughout. On v1.1 data the results differ from evaluate-v1.1.py only for a question
that has a gold of nothing but punctuation and articles, and only if the prediction is of that kind too. Such
golds are rare: "." beside real answers in 2 of 5,665 questions of the v1.1 dev set (half of it), "." or "$"
alone in 2 of its 87,598 training questions. So a figure of v1.1 can shift by a few hundredths of a point at
most, and not at all when the answers to these questions hold a word.

Left out: which texts to compare, and averages over a data set (evaluate.py).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Reduce a text to what counts when answers are compared.

    In the order of the official scripts, because the order shows: "A." loses its point first and is then an
    article. Only ASCII punctuation counts; a dash or quotation mark beyond ASCII stays.
    """
    bare = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def exact_match(predicted: str, golds: tuple[str, ...] | list[str]) -> float:
    """Tell whether a text equals one of the gold answers after normalisation.

    Args:
        predicted: the answer given; empty for "no answer".
        golds: the right answers; empty when the question has none.

    Returns:
        1.0 or 0.0.
    """
    return float(normalize_answer(predicted) in _normalized_golds(golds))


def f1(predicted: str, golds: tuple[str, ...] | list[str]) -> float:
    """Overlap of a text with the nearest gold answer, as bags of normalised tokens.

    Harmonic mean of precision c/p and recall c/g, which is 2c / (p + g) with c tokens in common, p predicted
    and g in the gold answer.

    Args:
        predicted: the answer given; empty for "no answer".
        golds: the right answers; empty when the question has none.

    Returns:
        0.0 to 1.0; 1.0 when neither side has a token.
    """
    tokens = Counter(normalize_answer(predicted).split())
    return max(_overlap(tokens, Counter(gold.split())) for gold in _normalized_golds(golds))


def _normalized_golds(golds: tuple[str, ...] | list[str]) -> list[str]:
    """The gold texts that hold a token, or the empty text when there is none, as in v2.0."""
    texts = [text for text in map(normalize_answer, golds) if text]
    return texts if texts else [""]


def _overlap(predicted: Counter[str], gold: Counter[str]) -> float:
    """F1 of two bags of tokens."""
    size = predicted.total() + gold.total()
    return 2 * (predicted & gold).total() / size if size else 1.0


def bootstrap_interval(
    values: NDArray[np.float64], *, seed: int = 0, samples: int = 1000, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Resamples are drawn one by one,
    so memory grows with n + samples and not with their product.

    Args:
        values: float64 (n,), one score a question.
        seed: of the generator; the same seed gives the same interval.
        samples: how many resamples to draw.
        confidence: share of the resampled means inside the interval, between 0 and 1.

    Returns:
        Lower and upper end, in the unit of the values.

    Raises:
        InputError: there are no values, or one is not finite, or an option is out of range.
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
    """Find the null threshold with the highest mean score.

    The answer is withheld when its difference is greater than the threshold. Every distinct outcome is
    compared, by sorting. Ties go to the lowest threshold, which withholds most, as in evaluate-v2.0.py: of
    two equal means the better one shows fewer wrong answers.

    Args:
        score_differences: float64 (n,), null score - best score, finite.
        answer_scores: float64 (n,), EM or F1 (0 to 1) earned if the best span is returned.
        no_answer_scores: float64 (n,), the same if no answer is returned.

    Returns:
        The threshold and its mean score. The threshold lies midway between the two neighbouring differences;
        it is 1 below the lowest where never answering is best, 1 above the highest where always answering is.

    Raises:
        InputError: the arrays are empty, differ in length, or hold a value that is not finite.
    """
    _check(score_differences=score_differences, answer_scores=answer_scores, no_answer_scores=no_answer_scores)
    order = np.argsort(score_differences, kind="stable")
    differences = score_differences[order].astype(np.float64)
    gains = (answer_scores - no_answer_scores)[order].astype(np.float64)
    # totals[k]: the sum of scores when the k lowest differences are answered.
    totals = no_answer_scores.sum(dtype=np.float64) + np.concatenate(([0.0], np.cumsum(gains)))
    # Equal differences share one fate, so no threshold falls between them.
    possible = np.flatnonzero(np.concatenate(([True], differences[1:] > differences[:-1], [True])))
    # Rounded, so that the rounding of the sums does not decide a tie.
    answered = int(possible[np.argmax(np.round(totals[possible], 9))])
    return _threshold(differences, answered), float(totals[answered] / len(differences))


def _threshold(differences: NDArray[np.float64], answered: int) -> float:
    """The number that parts the first `answered` of the ascending differences from the rest."""
    if answered == 0:
        return float(min(differences[0] - 1.0, np.nextafter(differences[0], -np.inf)))
    lower = differences[answered - 1]
    if answered == len(differences):
        return float(lower + 1.0)
    upper = differences[answered]
    middle = lower / 2 + upper / 2
    # Rounding can carry the middle of two close neighbours onto one of them; the lower is always right.
    return float(middle if lower <= middle < upper else lower)


def _check(**arrays: NDArray[np.float64]) -> None:
    """Refuse arrays that are not vectors of one positive length and of finite numbers."""
    length = len(next(iter(arrays.values())))
    for name, array in arrays.items():
        if array.ndim != 1 or len(array) != length or length == 0:
            raise InputError(
                f"{name} has shape {array.shape}; it must be a vector of one number a question, with at "
                "least one question, and as long as any other that is given"
            )
        if not np.isfinite(array).all():
            position = int(np.flatnonzero(~np.isfinite(array))[0])
            raise InputError(f"{name}[{position}] is {array[position]}; leave out what has no finite score")
