"""Language identification: right on real text, offline, the same every time."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from pipelines.cleaning import language_detection as detection
from pipelines.cleaning.analysis import Analyzer
from pipelines.cleaning.registry import make_rule
from pipelines.cleaning.rules import decide


def test_languages_of_real_documents(multilingual: list[tuple[str, str]]) -> None:
    rows = [(text, code.split("-")[0].split("_")[0]) for text, code in multilingual if len(text) > 200]
    codes, scores = detection.detect([text for text, _ in rows])
    right = sum(code == truth for code, (_, truth) in zip(codes, rows, strict=True))
    assert right / len(rows) > 0.8  # the corpus has code and English in it
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()


def test_never_touches_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    detection._detector.cache_clear()
    assert detection.detect(["Wir mahlen Korn zu Mehl und backen Brot daraus."]).codes == ["de"]


def test_model_is_loaded_once() -> None:
    assert detection._detector() is detection._detector()


def test_texts_without_letters_and_odd_ones() -> None:
    texts = [
        "",
        " \n",
        "123 ... 456",
        "THIS IS AN ENGLISH SENTENCE ABOUT THE MILL",
        "bad \ud800 surrogate, but English text",
    ]
    codes, scores = detection.detect(texts)
    assert codes[:3] == ["und"] * 3
    assert scores[:3].tolist() == [0, 0, 0]
    assert codes[3:] == ["en", "en"]


def test_rule_records_both_bounds() -> None:
    rule = make_rule("language", {"allowed": ["fr"], "min_score": 0.999999})
    analysis = Analyzer().analyze(["the mill by the river, sort of", "Le moulin est au bord de la rivière."])
    reasons = decide(analysis, [rule], [rule.score(analysis)])
    assert [reason.rule for reason in reasons[0]] == ["language.allowed", "language.score"]
    assert "language.allowed" not in [reason.rule for reason in reasons[1]]
    anything = make_rule("language", {"allowed": [], "min_score": 0.0})
    assert decide(analysis, [anything], [anything.score(analysis)]) == [[], []]
