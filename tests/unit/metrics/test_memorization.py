"""Memorised windows: those that a search through the texts finds, whatever their hashes."""

from __future__ import annotations

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladd_hf.metrics import Memorization, TrainingWindows, memorization, memorized_share


def naive(training, samples, window):
    """Each sample's windows that are a part of some training text, and all of its windows."""
    found, total = [], []
    for sample in samples:
        windows = [sample[i : i + window] for i in range(len(sample) - window + 1)]
        found.append(sum(any(one in text for text in training) for one in windows))
        total.append(len(windows))
    return found, total


TEXTS = st.lists(st.text("ab\U0001f600", max_size=12), min_size=1, max_size=5)


@given(TEXTS, TEXTS, st.integers(1, 7))
@settings(max_examples=300, deadline=None)
def test_it_finds_what_a_search_finds(training, samples, window):
    if not any(len(text) >= window for text in training):
        with pytest.raises(ValueError, match=f"No training text has {window}"):
            TrainingWindows(training, window)
        return
    found, total = TrainingWindows(training, window).found(samples)
    assert (found.tolist(), total.tolist()) == naive(training, samples, window)


@pytest.mark.parametrize("weak", [lambda window: np.zeros(1), lambda window: window.sum(-1) % 3])
def test_windows_with_equal_hashes_are_told_apart(weak, monkeypatch):
    def hashes(codes, window):
        rows = np.lib.stride_tricks.sliding_window_view(codes.astype(np.uint64), window)
        return np.broadcast_to(weak(rows), len(rows)).astype(np.uint64)

    monkeypatch.setattr(memorization, "_hashes", hashes)
    random = np.random.default_rng(0)
    training, samples = (["".join(random.choice(list("abc"), 30)) for _ in range(6)] for _ in range(2))
    found, total = TrainingWindows(training, 4).found(samples)
    assert (found.tolist(), total.tolist()) == naive(training, samples, 4)
    assert 0 < found.sum() < total.sum()


def test_texts_are_searched_in_parts(monkeypatch):
    random = np.random.default_rng(1)
    training = ["".join(random.choice(list("abcd"), random.integers(3, 40))) for _ in range(50)]
    samples = ["".join(random.choice(list("abcd"), 20)) for _ in range(8)]
    monkeypatch.setattr(memorization, "_AT_ONCE", 17)
    found, total = TrainingWindows(training, 5).found(samples)
    assert (found.tolist(), total.tolist()) == naive(training, samples, 5)


def test_hashes_of_different_windows_differ():
    """Windows of two letters, of every length: the table would be useless if they did not."""
    codes = np.random.default_rng(2).integers(0, 2, 4000).astype(np.uint32)
    for window in (1, 2, 3, 8, 24, 31):
        rows = np.lib.stride_tricks.sliding_window_view(codes, window)
        hashes = memorization._hashes(codes, window)
        assert len(np.unique(hashes)) == len(np.unique(rows, axis=0))
        assert len(np.unique(hashes >> np.uint64(42))) > 0.98 * len(np.unique(hashes))


def test_ids_and_characters_are_searched_alike():
    ids = [[5, 7, 70_000, 5, 7], [1, 2]]
    found, total = TrainingWindows(ids, 2).found([[70_000, 5, 7, 1], np.array([7, 70_000])])
    assert (found.tolist(), total.tolist()) == ([2, 1], [3, 1])  # 7, 1 is in two texts, not in one


def test_copies_are_memorised_and_held_out_texts_are_not():
    texts = ["the cat sat on the mat", "a dog ran to the log"]
    training = TrainingWindows(texts, 6)
    assert memorized_share(training, texts).value == 1
    assert memorized_share(training, ["xyzxyzxyz"]).value == 0
    half = memorized_share(training, [*texts, "x" * len("".join(texts))])
    assert half.value == pytest.approx((17 + 15) / (17 + 15 + 37)) and half.stderr > 0


@pytest.mark.parametrize(
    ("training", "samples", "message"),
    [
        (["abc"], ["abcdef"], "No training text has 6 characters or tokens"),
        (["abcdefgh"], ["abc", ""], "No sample has 6 characters or tokens"),
        ([[-1] * 6], ["abcdef"], "ids from 0"),
        ([[0.5] * 6], ["abcdef"], "dtype float64"),
    ],
)
def test_what_has_no_windows_is_refused(training, samples, message):
    with pytest.raises(ValueError, match=message):
        memorized_share(TrainingWindows(training, 6), samples)


def test_the_measurement_reports_the_window(tmp_path):
    texts, samples = ["the cat sat on the mat"], ["the cat ran on", "the mat"]
    loaded = evaluate.load(
        memorization.__file__, module_type="measurement", texts=texts, window=4, cache_dir=str(tmp_path)
    )
    found, total = naive(texts, samples, 4)
    result = loaded.compute(data=samples)
    assert result["memorized"] == pytest.approx(sum(found) / sum(total)) and result["memorized_stderr"] > 0
    assert (result["window"], result["windows"]) == (4, sum(total))
    ids = [[ord(c) for c in text] for text in samples]
    of_ids = Memorization([[ord(c) for c in text] for text in texts], 4, cache_dir=str(tmp_path)).compute(data=ids)
    assert of_ids == result
