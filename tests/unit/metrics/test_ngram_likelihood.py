"""The n-gram judge: a probability law, of counts that can be checked by hand, that knows its corpus."""

from __future__ import annotations

import math

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladd_hf.metrics import NGramLikelihood, NGramModel, ngram_likelihood

CORPUS = ["abab", "ba", "", "abba"]


def witten_bell(texts, order, history, character):
    """The definition, spelled out by counting."""
    alphabet = sorted(set("".join(texts)))
    p = 1 / len(alphabet)
    for n in range(1, order + 1):
        if len(history) < n - 1:
            break
        context = history[len(history) - (n - 1) :]
        following = [
            text[i + n - 1] for text in texts for i in range(len(text) - n + 1) if text[i : i + n - 1] == context
        ]
        if following:
            distinct = len(set(following))
            p = (following.count(character) + distinct * p) / (len(following) + distinct)
    return p


@given(
    st.lists(st.text("abc", max_size=6), min_size=1, max_size=5).filter(any),
    st.text("abc", min_size=1, max_size=7),
    st.integers(1, 4),
)
@settings(max_examples=150, deadline=None)
def test_every_character_has_the_probability_of_the_definition(corpus, text, order):
    text = "".join(c for c in text if c in "".join(corpus)) or next(filter(None, corpus))
    expected = [math.log(witten_bell(corpus, order, text[:i], c)) for i, c in enumerate(text)]
    assert NGramModel(corpus, order).log_likelihood([text]) == pytest.approx(expected)


def test_it_is_exact_whatever_the_number_of_characters():
    """Tests an alphabet like that of Chinese or multilingual texts: 1,600 characters, whose 6-grams exceed 64 bits."""
    rng, alphabet = np.random.default_rng(0), np.array([chr(0x4E00 + i) for i in range(1600)])
    phrases = ["".join(rng.permutation(alphabet)[:8]) for _ in range(12)]
    corpus = ["".join(rng.permutation(alphabet)), *("".join(rng.choice(phrases, 6)) for _ in range(20))]
    text = phrases[0] + phrases[1][:5] + phrases[2][2:] + corpus[0][:4] + phrases[3]
    expected = [math.log(witten_bell(corpus, 6, text[:i], c)) for i, c in enumerate(text)]
    assert NGramModel(corpus, 6).log_likelihood([text]) == pytest.approx(expected)


def test_an_order_beyond_the_longest_text_is_that_of_the_longest_text():
    texts = ["abba", "babab"]
    assert np.array_equal(NGramModel(CORPUS, 4).log_likelihood(texts), NGramModel(CORPUS, 10**9).log_likelihood(texts))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_the_probabilities_of_the_next_character_sum_to_one(order):
    model = NGramModel(CORPUS, order)
    for history in ("", "a", "b", "ab", "bb", "abab"):
        p = [math.exp(model.log_likelihood([history + c])[-1]) for c in model.alphabet]
        assert sum(p) == pytest.approx(1)


def test_a_text_is_judged_alone():
    model = NGramModel(CORPUS, 3)
    apart = np.concatenate([model.log_likelihood([text]) for text in ("ab", "ba", "", "a")])
    assert np.array_equal(model.log_likelihood(["ab", "ba", "", "a"]), apart)


def test_the_corpus_is_more_likely_than_its_characters_in_any_order():
    corpus = ["the cat sat on the mat and the dog sat on the log"] * 3
    shuffled = ["".join(np.random.default_rng(0).permutation(list(corpus[0])))]
    model = NGramModel(corpus, 4)
    assert model.nats_per_character(corpus[:1]) < model.nats_per_character(shuffled) - 1


def test_a_character_the_corpus_does_not_have_costs_more_than_one_it_has():
    model = NGramModel(CORPUS, 3)
    assert model.log_likelihood(["z"]).item() < model.log_likelihood(["a"]).item()
    assert np.isfinite(model.log_likelihood(["azb"])).all()


@pytest.mark.parametrize(
    ("corpus", "order", "message"),
    [
        ([], 2, "no characters"),
        (["", ""], 2, "no characters"),
        (CORPUS, 0, "`order` is 0; give a number of characters, 1 or more"),
    ],
)
def test_what_can_not_be_a_judge_is_refused(corpus, order, message):
    with pytest.raises(ValueError, match=message):
        NGramModel(corpus, order)


def test_the_measurement_gives_the_models_figure_and_its_perplexity(tmp_path):
    measurement = NGramLikelihood(CORPUS, 3, cache_dir=str(tmp_path))
    result = measurement.compute(data=["abab", "bb"])
    assert result["nats_per_character"] == pytest.approx(NGramModel(CORPUS, 3).nats_per_character(["abab", "bb"]))
    assert result["perplexity_per_character"] == pytest.approx(math.exp(result["nats_per_character"]))
    with pytest.raises(ValueError, match="no characters"):
        NGramLikelihood(CORPUS, 3, cache_dir=str(tmp_path)).compute(data=["", ""])


def test_evaluate_loads_the_file_without_a_network(tmp_path):
    loaded = evaluate.load(
        ngram_likelihood.__file__, module_type="measurement", texts=CORPUS, order=2, cache_dir=str(tmp_path)
    )
    expected = NGramModel(CORPUS, 2).nats_per_character(["ab"])
    assert loaded.compute(data=["ab"])["nats_per_character"] == pytest.approx(expected)
