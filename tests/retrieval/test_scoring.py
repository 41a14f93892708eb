"""Scores: those of bm25s' own index, and those of the formula."""

from __future__ import annotations

import math
import random

import bm25s
import numpy as np
import pytest

from qa_onnx.retrieval.index import PassageIndex
from qa_onnx.retrieval.scoring import K1, B, best, score_terms
from qa_onnx.retrieval.terms import terms_of
from tests.retrieval.texts import WORDS, make_documents

QUESTIONS = [" ".join(random.Random(seed).sample(WORDS, 5)) for seed in range(20)]


@pytest.fixture(scope="module")
def index() -> PassageIndex:
    return PassageIndex.of(make_documents(10))


def rows_of(index: PassageIndex) -> list[list[str]]:
    return [terms_of(index.passage(number).text) for number in range(len(index))]


def test_scores_are_those_of_bm25s(index: PassageIndex) -> None:
    model = bm25s.BM25(k1=K1, b=B, method="lucene")
    model.index(rows_of(index), show_progress=False)
    for question in QUESTIONS:
        np.testing.assert_allclose(index.scores(question), model.get_scores(terms_of(question)), rtol=1e-5)


def test_scores_are_those_of_bm25s_to_the_bit(index: PassageIndex) -> None:
    scores = index.content.scores
    model = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy")
    model.scores = {
        "data": scores.values,
        "indices": scores.passages,
        "indptr": scores.columns,
        "num_docs": scores.count,
    }
    model.nonoccurrence_array = None
    rng = random.Random(1)
    for count in (0, 1, 2, 5, 30):
        terms = rng.choices(range(len(scores.columns) - 1), k=count)  # some of them more than once
        found = scores.of(terms)
        assert found.dtype == np.float32
        assert found.tobytes() == model.get_scores_from_ids(terms).tobytes()


def test_scores_are_those_of_the_formula(index: PassageIndex) -> None:
    rows = rows_of(index)
    mean = sum(map(len, rows)) / len(rows)
    for question in QUESTIONS:
        scores = index.scores(question)
        for row, score in zip(rows, scores, strict=True):
            expected = 0.0
            for term in question.split():
                df = sum(term in other for other in rows)
                idf = math.log(1 + (len(rows) - df + 0.5) / (df + 0.5))
                tf = row.count(term)
                expected += idf * tf / (tf + K1 * (1 - B + B * len(row) / mean))
            assert score == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_without_terms_all_scores_are_zero() -> None:
    scores = score_terms(np.zeros(0, np.uint32), np.zeros(4, np.int64), 0)
    assert scores.of([]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("count", [0, 1, 3, 7, 50, 51, 100])
def test_the_best_are_those_of_a_stable_sort(count: int) -> None:
    scores = np.random.default_rng(0).integers(0, 5, 50).astype(np.float32)
    expected = sorted(range(50), key=lambda number: (-scores[number], number))[:count]
    assert best(scores, count).tolist() == expected
