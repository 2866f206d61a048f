"""Distinct-n and self-BLEU of texts whose values are known, and their standard errors by leaving texts out."""

from __future__ import annotations

import math

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladd_hf.metrics import Diversity, distinct, diversity, self_bleu


def share_of_different(texts, order):
    grams = [text[i : i + order] for text in texts for i in range(len(text) - order + 1)]
    return len(set(grams)) / len(grams)


@given(st.lists(st.text("abc", max_size=7), min_size=2, max_size=6), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_distinct_n_and_its_error_are_those_of_the_definition(texts, order):
    long_enough = [text for text in texts if len(text) >= order]
    if not long_enough:
        with pytest.raises(ValueError, match=f"No sequence has {order} units"):
            distinct(texts, order)
        return
    found = distinct(texts, order)
    assert found.value == pytest.approx(share_of_different(texts, order))
    if len(long_enough) == 1:
        assert found.stderr is None
        return
    without = [share_of_different(long_enough[:i] + long_enough[i + 1 :], order) for i in range(len(long_enough))]
    n = len(without)
    assert found.stderr == pytest.approx(math.sqrt((n - 1) / n * ((np.array(without) - np.mean(without)) ** 2).sum()))


def test_units_may_be_characters_ids_or_words():
    assert distinct(["abab", "ba"], 2).value == pytest.approx(2 / 4)
    assert distinct([[5, 900_000, 5, 900_000], [900_000, 5]], 2) == distinct(["abab", "ba"], 2)
    assert distinct([["a", "cat", "sat"], ["a", "cat", "ran"]], 1).value == pytest.approx(4 / 6)


def test_more_of_the_same_is_less_distinct():
    texts = ["the cat sat", "a dog ran"]
    assert distinct(texts * 3, 2).value == pytest.approx(distinct(texts, 2).value / 3)


def test_self_bleu_is_one_for_copies_and_low_for_strangers():
    assert self_bleu(["abcdefgh"] * 5).value == pytest.approx(1) and self_bleu(["abcdefgh"] * 5).stderr < 1e-9
    strangers = ["".join(chr(97 + 5 * i + j) for j in range(5)) for i in range(5)]
    alike = [f"{text}abcdefgh" for text in strangers]
    # sacrebleu's smoothing leaves something to texts without one common n-gram
    assert self_bleu(strangers).value < 0.15 < self_bleu(alike).value < 1
    assert self_bleu(alike).stderr > 0


def test_self_bleu_compares_a_draw_of_the_samples():
    texts = ["".join(np.random.default_rng(i).choice(list("abcd"), 12)) for i in range(30)]
    one = self_bleu(texts, num_samples=8)
    assert one == self_bleu(texts, num_samples=8) != self_bleu(texts, num_samples=8, seed=1)
    assert self_bleu(texts, num_samples=30).value > one.value  # there are more others to be like


@pytest.mark.parametrize(("texts", "number"), [(["a"], 5), (["a", ""], 5), (["ab", "ba"], 1)])
def test_a_sample_without_others_is_refused(texts, number):
    with pytest.raises(ValueError, match="compares samples with each other"):
        self_bleu(texts, number)


def test_the_measurement_reports_its_settings(tmp_path):
    texts = ["the cat sat", "the dog ran", "the cat ran"]
    result = Diversity(orders=(1, 2), cache_dir=str(tmp_path)).compute(data=texts)
    assert result["distinct_2"] == distinct(texts, 2).value and result["self_bleu"] == self_bleu(texts).value
    assert result["samples"] == result["self_bleu_samples"] == 3
    ids = [[ord(c) for c in text] for text in texts]
    loaded = evaluate.load(
        diversity.__file__, module_type="measurement", orders=(1, 2), self_bleu_samples=0, cache_dir=str(tmp_path)
    ).compute(data=ids)
    assert loaded == {name: value for name, value in result.items() if "bleu" not in name}
