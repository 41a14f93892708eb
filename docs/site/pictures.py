"""Draw the pictures of how-it-works.md from what the default model gives for the page's own example.

`python docs/site/pictures.py` writes docs/pictures/. The test suite compares them with the numbers of today.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from svg import Picture

from qa_onnx import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx import Prediction
    from qa_onnx.spans import WindowLogits

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
QUESTION = "When does the ferry leave on Sundays?"
TEXT = "The ferry to Ormen leaves pier 3 at 7:40 on weekdays, and at half past nine on Sundays."


class Example(NamedTuple):
    """What the model gave for the page's question."""

    row: WindowLogits
    tokens: list[str]
    prediction: Prediction
    best: tuple[int, int]  # first and last token of the best span, in the window


def read(reader: Reader) -> Example:
    """Ask the page's question."""
    options = dataclasses.replace(reader.options, overlapping=True)
    [row] = reader.logits([(QUESTION, TEXT)], options=options)
    names = {number: token for token, number in reader.steps.windower.vocabulary().items()}
    [scored] = reader.steps.search([row], options)
    _, first, last = scored.spans[0]
    [prediction] = reader.predict([(QUESTION, TEXT)])
    return Example(row, [names[number] for number in row.window.input_ids.tolist()], prediction, (first, last))


def steps() -> Picture:
    """Draw the way from a text to an answer."""
    parts = [
        ("question and text", "two strings"),
        ("windows", "[CLS] question [SEP] part of the text [SEP]"),
        ("logits", "two numbers for each token: start and end"),
        ("spans", "every start with every end after it, and their sum"),
        ("distinct answers", "spans that overlap are forms of one answer"),
        ("answer, or none", "the best span, unless “no answer” leads"),
    ]
    arrows = ["cut", "run the model", "search", "merge", "choose"]
    picture = Picture("From a question and a text to an answer, step by step", height=24 + 74 * len(parts) - 22)
    for number, (name, words) in enumerate(parts):
        y = 14 + 74 * number
        picture.box(14, y, picture.width - 28, 46, "box")
        picture.text(26, y + 19, name, "best" if number == len(parts) - 1 else "")
        picture.text(26, y + 37, words, "small faint")
        if number < len(arrows):
            picture.arrow(40, y + 49, 22)
            picture.text(54, y + 65, arrows[number], "small")
    return picture


def windows(reader: Reader) -> Picture:
    """Draw how the windows of a long text overlap."""
    text = (ROOT / "examples" / "lighthouse.txt").read_text(encoding="utf-8")
    rows = [row.window for row in reader.logits([("Who designed the tower?", text)])]
    total, scale = len(rows[0].context.ids), 392 / len(rows[0].context.ids)
    picture = Picture(f"A text of {total} tokens in {len(rows)} windows", height=74 + 34 * len(rows))
    picture.text(14, 24, f"the text: {total} tokens")
    picture.box(14, 32, total * scale, 14, "box")
    for number, window in enumerate(rows):
        count, y = window.last - window.first + 1, 62 + 34 * number
        picture.box(14 + window.token_offset * scale, y, count * scale, 22, "start", opacity=0.35)
        words = f"window {number + 1}: tokens {window.token_offset + 1} to {window.token_offset + count}"
        left = 14 + window.token_offset * scale
        fits = left < 210
        picture.text(left + 6 if fits else left - 6, y + 16, words, "small", anchor="start" if fits else "end")
    return picture


def logits(example: Example) -> Picture:
    """Draw start and end logit of each token."""
    row, tokens, _, (first, last) = example
    picture = Picture(f"Start and end logits of each token for: {QUESTION}", height=62 + 18 * len(tokens))
    picture.text(205, 24, "start logit", "start", anchor="middle")
    picture.text(345, 24, "end logit", "end", anchor="middle")
    centre, scale = {"start": 205, "end": 345}, 9.0
    for x in centre.values():
        picture.line(x, 34, x, 44 + 18 * len(tokens))
    for at, token in enumerate(tokens):
        y = 40 + 18 * at
        chosen = first <= at <= last
        outside = not row.window.first <= at <= row.window.last
        picture.text(130, y + 13, token, "best" if chosen else "faint" if outside else "", anchor="end")
        for side, values, mark in (("start", row.start, first), ("end", row.end, last)):
            value = float(values[at])
            left = centre[side] + min(0.0, value * scale)
            picture.box(left, y + 3, abs(value * scale), 11, side, opacity=0.35 if outside else 1.0)
            if at == mark:
                picture.text(centre[side] + value * scale + 5, y + 13, f"{value:.1f}", f"small {side}")
    picture.text(
        14, picture.height - 8, "pale: question and special tokens; never part of an answer", "small faint"
    )
    return picture


def spans(example: Example) -> Picture:
    """Draw the scores of all spans of a part of the text as a table of starts and ends."""
    row, tokens, _, best = example
    low, high = row.window.last - 14, row.window.last
    cell, left, top = 21, 88.0, 92.0
    picture = Picture("Scores of the spans of a part of the text, by start and end", height=top + 15 * cell + 34)
    scores = {
        (i, j): float(row.start[i]) + float(row.end[j]) for i in range(low, high + 1) for j in range(i, high + 1)
    }
    worst, most = min(scores.values()), max(scores.values())
    for at in range(low, high + 1):
        place = (at - low) * cell
        picture.text(left - 6, top + place + 15, tokens[at], "small start", anchor="end")
        picture.text(left + place + 14, top - 6, tokens[at], "small end", turn=-60)
    for (i, j), score in scores.items():
        x, y = left + (j - low) * cell, top + (i - low) * cell
        picture.box(
            x, y, cell - 2, cell - 2, "best", opacity=max(0.04, ((score - worst) / (most - worst)) ** 3 * 0.99)
        )
    x, y = left + (best[1] - low) * cell, top + (best[0] - low) * cell
    picture.box(x - 1, y - 1, cell, cell, "edge")
    words = f"{float(row.start[best[0]]):.1f} + {float(row.end[best[1]]):.1f} = {scores[best]:.1f}"
    picture.text(left + 14, y + 58, words, "best")
    picture.text(
        14,
        picture.height - 12,
        "row: start token; column: end token; stronger colour: higher score",
        "small faint",
    )
    return picture


def answers(example: Example) -> Picture:
    """Draw the probabilities of the distinct answers and of "no answer"."""
    prediction = example.prediction
    shown: Sequence[tuple[str, float, float]] = [
        *((answer.text, answer.score, answer.probability) for answer in prediction.answers),
        ("“no answer”", prediction.null_score, prediction.null_probability),
    ]
    picture = Picture("Scores and probabilities of the distinct answers", height=56 + 30 * len(shown))
    picture.text(178, 24, "score", "small faint", anchor="end")
    picture.text(196, 24, "probability", "small faint")
    for number, (text, score, probability) in enumerate(shown):
        y = 34 + 30 * number
        picture.text(14, y + 17, text, "best" if number == 0 else "")
        picture.text(178, y + 17, f"{score:.1f}", anchor="end")
        picture.box(196, y + 4, max(1.0, 150 * probability), 16, "best" if number == 0 else "start")
        picture.text(202 + 150 * probability, y + 17, f"{100 * probability:.1f} %", "small")
    return picture


def draw() -> dict[str, str]:
    """Return the SVG of each picture by its name."""
    reader = Reader.load(precision="fp32", engine="onnxruntime")
    example = read(reader)
    made = {
        "steps": steps(),
        "windows": windows(reader),
        "logits": logits(example),
        "spans": spans(example),
        "answers": answers(example),
    }
    return {name: picture.svg() for name, picture in made.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, svg in draw().items():
        (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")
