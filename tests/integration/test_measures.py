"""Measures of the model among the metrics of evaluations: the averaged weights', on texts that any run agrees on."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.training import assert_same, logged, state_of, texts

from ladd_hf.data import LaddCollator
from ladd_hf.metrics import code_usage, latent_usefulness

BOTH = ["code_usage", {"name": "latent_usefulness", "token_times": [0.5, 1], "seed": 3}]


def numbers_of(metrics, prefix="eval"):
    return {name: one for name, one in metrics.items() if name.startswith((f"{prefix}_codes", f"{prefix}_latents"))}


def test_they_are_those_of_the_averaged_weights_and_leave_the_training_as_it_is(make_trainer):
    held_out, evaluated = texts(9, seed=1), {"eval_strategy": "steps", "eval_steps": 3}
    trainer = make_trainer("discrete", eval_data=held_out, measures=BOTH, measured_texts=5, **evaluated)
    trainer.train()
    plain = make_trainer("discrete", "plain", eval_data=held_out, **evaluated)
    plain.train()
    assert_same(state_of(trainer), state_of(plain))
    metrics = trainer.evaluate()
    assert len(logged(trainer, "eval_codes_perplexity")) == 3 and metrics["eval_measures_runtime"] > 0
    batches = [LaddCollator()([held_out[place] for place in (0, 2, 4, 6, 8)])]
    with trainer.ema.applied():
        usage = code_usage(trainer.model, batches)
        (half, whole) = latent_usefulness(trainer.model, batches, (0.5, 1.0), seed=3)
    assert metrics["eval_codes_perplexity"] == pytest.approx(usage.perplexity.value)
    assert metrics["eval_codes_dead"] == usage.dead and metrics["eval_codes_dead_stderr"] == usage.used_stderr
    assert metrics["eval_latents_gain_0.5"] == pytest.approx(half.gain.value, rel=1e-4, abs=1e-6)
    assert metrics["eval_latents_true_1_stderr"] == pytest.approx(whole.true.stderr, rel=1e-4)
    assert len(numbers_of(metrics)) == 2 * (3 + 2 * 5)
    assert numbers_of(plain.evaluate()) == {}


def test_each_data_set_has_its_own_and_predictions_have_none(make_trainer, stirred_model):
    sets = {"one": texts(6, seed=1), "two": texts(6, seed=2)}
    trainer = make_trainer(stirred_model("continuous"), eval_data=sets, measures=["latent_usefulness"])
    metrics = trainer.evaluate()
    one, two = (numbers_of(metrics, f"eval_{name}") for name in sets)
    assert len(one) == len(two) == 2 * 4 * 5
    again = numbers_of(trainer.evaluate(sets["one"], metric_key_prefix="again"), "again")
    assert list(again.values()) == list(one.values()) != list(two.values())
    assert not numbers_of(trainer.predict(sets["one"]).metrics, "test")


def test_of_a_stream_the_first_texts_are_measured(make_trainer):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(texts(9, seed=1))

    trainer = make_trainer("discrete", measures=["code_usage"], measured_texts=4)
    streamed = numbers_of(trainer.evaluate(Stream()))
    assert streamed == numbers_of(trainer.evaluate(texts(9, seed=1)[:4]))


def test_the_best_weights_may_be_those_of_a_measure(make_trainer):
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    trainer = make_trainer(
        "discrete",
        eval_data=texts(6),
        measures=["code_usage"],
        metric_for_best_model="codes_perplexity",
        load_best_model_at_end=True,
        learning_rate=3e-2,
        **options,
    )
    trainer.train()
    assert trainer.state.best_metric == max(logged(trainer, "eval_codes_perplexity"))
    dead = make_trainer("discrete", "dead", measures=["code_usage"], metric_for_best_model="eval_codes_dead")
    gain = make_trainer("discrete", "gain", measures=BOTH, metric_for_best_model="eval_latents_own_gain_1")
    assert dead.args.greater_is_better is False and gain.args.greater_is_better is True


def test_context_is_not_masked(stirred_model):
    model, tokens = stirred_model("discrete"), torch.stack([row["input_ids"] for row in texts(4)])
    labels = tokens.clone()
    labels[:, :5] = -100
    (found,) = latent_usefulness(model, [{"input_ids": tokens, "labels": labels}], (1.0,))
    assert found.masked == 4 * 7


@pytest.mark.parametrize(
    ("kind", "measures", "message"),
    [
        ("none", ["latent_usefulness"], r"the model has no latents \(`latent_type` 'none'\)"),
        ("continuous", ["code_usage"], r"the model has no codes \(`latent_type` 'continuous'\)"),
        ("discrete", "code_usage", "`measures` is 'code_usage'; give a list"),
        ("discrete", ["taste"], "The measure 'taste' is unknown; give one of"),
        ("discrete", ["code_usage"] * 2, "have a number 'codes_dead'"),
        ("discrete", [3], "`measures` holds 3; give names, or mappings"),
        ("discrete", ["{name: code_usage}"], "which is not JSON"),
        ("discrete", [{"name": "code_usage", "size": 3}], "has no option 'size'; it takes `seed`"),
        (
            "discrete",
            [{"name": "latent_usefulness", "token_times": [0]}],
            "`measures.latent_usefulness.token_times` is 0",
        ),
        ("discrete", [{"name": "latent_usefulness", "token_times": 1}], "is 1; give a list of times"),
        ("discrete", [{"name": "latent_usefulness", "token_times": [1, 1.0]}], "with a time twice"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_trained(make_trainer, kind, measures, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(kind, eval_data=texts(4), measures=measures)


def test_a_command_line_gives_options_as_json(make_trainer):
    trainer = make_trainer("discrete", measures=[json.dumps(BOTH[1])])
    assert trainer.args.measures == [BOTH[1]]
    assert json.loads(trainer.args.to_json_string())["measures"] == [BOTH[1]]
