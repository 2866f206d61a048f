"""MAUVE: 1 for one law, low for two; the features are the model's own, whatever the batch."""

from __future__ import annotations

import sys

import evaluate
import numpy as np
import pytest
import torch
from helpers.causal_lms import WORDS, causal_lm, word_tokenizer

from ladd_hf.metrics import Mauve, mauve
from ladd_hf.metrics.causal_lm import CausalJudge
from ladd_hf.metrics.mauve import MauveSettings, area_of_divergences, mauve_of_features, text_features

RANDOM = np.random.default_rng(0)
FEW = MauveSettings(clusters=4, seeds=3)


def drawn(count, words=WORDS, seed=0):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(words, random.integers(3, 9))) for _ in range(count)]


def test_the_features_are_the_last_states_of_the_last_tokens():
    texts = drawn(9)
    model, tokenizer = causal_lm(), word_tokenizer()
    features = text_features(CausalJudge(model, tokenizer, batch_size=4), texts)
    for text, feature in zip(texts, features, strict=True):
        with torch.no_grad():
            states = model.transformer(torch.tensor([tokenizer(text).input_ids])).last_hidden_state
        assert feature == pytest.approx(states[0, -1].numpy(), abs=1e-5)
    cut = text_features(CausalJudge(model, tokenizer), texts, MauveSettings(max_text_length=3))
    assert cut == pytest.approx(
        text_features(CausalJudge(model, tokenizer), [" ".join(text.split()[:3]) for text in texts]), abs=1e-5
    )


def test_it_is_one_for_the_same_texts_and_low_for_others():
    same, shifted = RANDOM.normal(size=(80, 5)), RANDOM.normal(size=(80, 5)) * 0.1 + 6
    assert mauve_of_features(same, same, FEW).value == pytest.approx(1)
    near = mauve_of_features(same, RANDOM.normal(size=(80, 5)), FEW)
    far = mauve_of_features(same, shifted, FEW)
    assert far.value < 0.1 < near.value <= 1
    assert mauve_of_features(same, shifted, FEW) == far


def test_its_area_is_that_of_the_package():
    compute = pytest.importorskip("mauve").compute_mauve
    for scaling_factor, shift in ((5.0, 0.5), (2.0, 1.0), (5.0, 9.0)):
        ours, theirs = RANDOM.normal(size=(70, 4)) + shift, RANDOM.normal(size=(60, 4))
        found = compute(p_features=ours, q_features=theirs, num_buckets=9, mauve_scaling_factor=scaling_factor, seed=1)
        settings = MauveSettings(scaling_factor=scaling_factor)
        assert area_of_divergences(found.p_hist, found.q_hist, settings) == pytest.approx(found.mauve, abs=1e-9)


def test_its_error_is_that_of_another_draw_of_samples():
    references, settings = RANDOM.normal(size=(100, 3)), MauveSettings(clusters=8, seeds=2)
    drawn = [mauve_of_features(RANDOM.normal(size=(100, 3)) + 0.5, references, settings) for _ in range(25)]
    spread = np.std([one.value for one in drawn], ddof=1)
    assert spread / 2 < np.mean([one.stderr for one in drawn]) < 2 * spread
    alone = mauve_of_features(RANDOM.normal(size=(100, 3)), references, MauveSettings(clusters=8, seeds=1))
    assert alone.stderr > 0  # of one quantisation, too


def test_the_measurement_says_its_settings(tmp_path):
    model, tokenizer = causal_lm(), word_tokenizer()
    references = drawn(60, seed=1)
    measurement = Mauve(references, model, tokenizer, settings=FEW, cache_dir=str(tmp_path))
    close = measurement.compute(data=drawn(50, seed=2))
    apart = measurement.compute(data=[*drawn(49, WORDS[:1], seed=2), ""])
    assert close["mauve"] > apart["mauve"]
    said = {"clusters": 4, "scaling_factor": 5.0, "seeds": 3, "first_seed": 25, "max_text_length": 1024}
    assert said.items() <= close.items() and close["judge"] == "GPT2LMHeadModel"
    assert (close["texts"], apart["texts"], close["references"]) == (50, 49, 60)
    loaded = evaluate.load(
        mauve.__file__,
        module_type="measurement",
        references=references,
        model=model,
        tokenizer=tokenizer,
        settings=FEW,
        cache_dir=str(tmp_path),
    )
    assert loaded.compute(data=drawn(50, seed=2)) == close


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (np.zeros((9, 2)), np.zeros((9, 3)), r"shapes \(9, 2\) and \(9, 3\)"),
        (np.full((9, 2), np.nan), np.zeros((9, 2)), "nan or infinity"),
        (np.zeros((3, 2)), np.zeros((9, 2)), "needs as many texts and references; got 3 and 9"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(ours, theirs, message):
    with pytest.raises(ValueError, match=message):
        mauve_of_features(ours, theirs, FEW)


def test_without_the_package_its_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "mauve", None)
    with pytest.raises(ImportError, match=r"MAUVE needs the package mauve-text: pip install 'ladd_hf\[judges\]'"):
        mauve_of_features(np.zeros((9, 2)), np.zeros((9, 2)), FEW)


@pytest.mark.parametrize("wrong", [{"clusters": 0}, {"scaling_factor": 0}, {"seeds": 0}, {"max_text_length": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` is 0; give"):
        MauveSettings(**wrong)
