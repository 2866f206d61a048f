"""The averaged weights are the average that a loop would compute, and come and go without a trace."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ladd_hf.training.checkpoints import MANIFEST
from ladd_hf.training.ema import EMA_FILE, EMACallback


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def weights_of(model):
    return [weight.detach().clone() for weight in model.parameters()]


def assert_equal(left, right):
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@torch.no_grad()
def move(model, steps, callback=None):
    """So many steps of an optimiser, as far as the average is concerned; returns the weights after each."""
    path = []
    for _ in range(steps):
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
        path.append(weights_of(model))
        if callback is not None:
            callback.on_step_end(None, None, None)
    return path


def started(model, decay):
    ema = EMACallback(model, decay)
    ema.on_train_begin(None, SimpleNamespace(global_step=0), None)
    return ema


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.9999])
def test_the_average_is_that_of_a_loop_whose_early_decays_are_smaller(decay):
    model = small_model()
    ema = started(model, decay)
    path = move(model, 30, ema)
    average = path[0]  # the first step's decay is 0: the start, mere noise, is forgotten
    for done, weights in enumerate(path[1:], start=1):
        rate = min(decay, (1 + done) / (10 + done))
        average = [rate * old + (1 - rate) * new for old, new in zip(average, weights, strict=True)]
    with ema.applied():
        for weight, expected in zip(model.parameters(), average, strict=True):
            torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_are_averaged_in_a_whole_one(dtype, tmp_path):
    model = small_model().to(dtype)
    ema = started(model, 0.999)
    ema.average.optimization_step = 10**6  # long ago: the decay is what was asked for
    start = weights_of(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.25)
    for _ in range(500):
        ema.on_step_end(None, None, None)
    left = 0.999**500
    expected = [
        old.float() * left + new.float() * (1 - left) for old, new in zip(start, weights_of(model), strict=True)
    ]
    with ema.applied():
        for weight, one in zip(model.parameters(), expected, strict=True):
            assert weight.dtype == dtype
            torch.testing.assert_close(weight.detach(), one.to(dtype))
    ema.save(tmp_path)
    resumed = started(model, 0.999)
    resumed.load(tmp_path)
    assert_equal(resumed.average.shadow_params, ema.average.shadow_params)
    for averaged, one in zip(ema.average.shadow_params, expected, strict=True):
        torch.testing.assert_close(averaged, one, atol=1e-5, rtol=0)


def test_weights_that_stand_still_are_their_own_average():
    model = small_model()
    ema = started(model, 0.9)
    frozen = model[0].requires_grad_(False)
    move(model, 5, ema)
    with ema.applied():
        averaged = weights_of(frozen)
    assert_equal(averaged, weights_of(frozen))


def test_applied_weights_are_put_back_even_after_an_error():
    model = small_model()
    ema = started(model, 0.9)
    move(model, 5, ema)
    before = weights_of(model)
    with pytest.raises(RuntimeError, match="inside"), ema.applied():
        assert not torch.equal(weights_of(model)[0], before[0])
        raise RuntimeError("inside")
    assert_equal(weights_of(model), before)


def test_applying_twice_at_once_is_applying_once():
    model = small_model()
    ema = started(model, 0.9)
    move(model, 5, ema)
    before = weights_of(model)
    with ema.applied():
        averaged = weights_of(model)
        with ema.applied():
            assert_equal(weights_of(model), averaged)
        assert_equal(weights_of(model), averaged)
    assert_equal(weights_of(model), before)


def test_before_training_the_model_is_its_own_average(tmp_path):
    model = small_model()
    ema, before = EMACallback(model, 0.9), weights_of(model)
    with ema.applied():
        assert_equal(weights_of(model), before)
    ema.load_into(model)
    ema.save(tmp_path)
    assert_equal(weights_of(model), before)
    assert not list(tmp_path.iterdir())


def test_a_part_can_be_given_its_average_for_good():
    model = small_model()
    ema = started(model, 0.9)
    move(model, 5, ema)
    before = weights_of(model)
    with ema.applied():
        averaged = weights_of(model)
    ema.load_into(model[1])
    assert_equal(weights_of(model[1]), averaged[2:])
    assert_equal(weights_of(model[0]), before[:2])


def test_a_loaded_average_goes_on_as_if_it_had_never_stopped(tmp_path):
    model = small_model()
    ema = started(model, 0.97)
    move(model, 6, ema)
    ema.save(tmp_path)
    middle, generator = weights_of(model), torch.get_rng_state()
    move(model, 6, ema)
    with ema.applied():
        expected = weights_of(model)

    twin = small_model()
    resumed = EMACallback(twin, 0.97)
    with torch.no_grad():
        for weight, value in zip(twin.parameters(), middle, strict=True):
            weight.copy_(value)
    resumed.load(tmp_path)
    resumed.on_train_begin(None, SimpleNamespace(global_step=6), None)
    torch.set_rng_state(generator)
    move(twin, 6, resumed)
    with resumed.applied():
        assert_equal(weights_of(twin), expected)


def test_the_saved_average_carries_the_models_names(tmp_path):
    model = small_model()
    ema = started(model, 0.9)
    move(model, 3, ema)
    ema.save(tmp_path)
    with ema.applied(), safe_open(tmp_path / EMA_FILE, "pt") as file:
        assert set(file.keys()) == {name for name, _ in model.named_parameters()}
        assert all(torch.equal(file.get_tensor(name), weight) for name, weight in model.named_parameters())


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        (None, "put the file back or give another checkpoint; only if it was not, go on with `ema_decay` 0"),
        ([], "it was trained without EMA, so go on with `ema_decay` 0"),
        ([EMA_FILE], "put the file back or give another checkpoint"),
    ],
)
def test_a_checkpoint_without_an_average_says_whether_there_ever_was_one(listed, told, tmp_path):
    if listed is not None:
        (tmp_path / MANIFEST).write_text(json.dumps({"files": dict.fromkeys(listed, 1)}))
    with pytest.raises(ValueError, match=f"has no {EMA_FILE}.*{told}"):
        EMACallback(small_model(), 0.9).load(tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-4])


def rewrite(change, metadata=True):
    def harm(path):
        tensors = change(load_file(path))
        save_file(tensors, path, metadata={"optimization_step": "3"} if metadata else None)

    return harm


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (cut, f"{EMA_FILE} is damaged"),
        (lambda path: path.write_bytes(b""), f"{EMA_FILE} is damaged"),
        (rewrite(lambda weights: {k: v for k, v in weights.items() if k != "0.bias"}), "the average lacks 0.bias"),
        (rewrite(lambda weights: {**weights, "2.bias": torch.ones(1)}), "the average has 2.bias besides"),
        (rewrite(lambda weights: {**weights, "0.bias": torch.ones(1)}), r"the average of 0.bias is \(1,\), not \(4,\)"),
        (rewrite(dict, metadata=False), "do not fit this run"),
    ],
    ids=["cut", "empty", "one too few", "one too many", "broadcast", "no count of steps"],
)
def test_an_average_that_is_damaged_or_of_another_model_is_refused(harm, told, tmp_path):
    ema = started(small_model(), 0.9)
    ema.save(tmp_path)
    harm(tmp_path / EMA_FILE)
    with pytest.raises(ValueError, match=told):
        EMACallback(small_model(), 0.9).load(tmp_path)


def test_a_new_run_starts_its_average_anew():
    model = small_model()
    ema = started(model, 0.9)
    move(model, 5, ema)
    ema.on_train_begin(None, SimpleNamespace(global_step=0), None)
    before = weights_of(model)
    with ema.applied():
        assert_equal(weights_of(model), before)
