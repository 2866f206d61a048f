"""A user's `compute_metrics` is called as transformers calls it, with the bound of each text, once."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from helpers.training import logged, texts
from torch import Tensor

from ladd_hf.training.text_metrics import TextMetrics


def rows(number=7):
    """Texts of several lengths, the second one with a prompt of three tokens."""
    data = [{"input_ids": row["input_ids"][: 12 - place % 5]} for place, row in enumerate(texts(number, seed=1))]
    for row in data:
        row["labels"] = row["input_ids"].clone()
    data[1]["labels"][:3] = -100
    return data


class Seen:
    """Records what it is given, and returns a number of it."""

    def __init__(self):
        self.given = []

    def __call__(self, prediction, **_):
        self.given.append(prediction)
        found = np.concatenate(prediction.predictions) if isinstance(prediction.predictions, list) else None
        return {"texts": len(prediction.predictions if found is None else found)}


class Summed:
    """Adds up batches, as `batch_eval_metrics` hands them out."""

    def __init__(self):
        self.given, self.nats, self.tokens = [], 0.0, 0.0

    def __call__(self, prediction, compute_result):
        assert isinstance(prediction.predictions, Tensor)
        self.given.append(prediction)
        self.nats += float(prediction.predictions[:, 1:3].sum())
        self.tokens += float(prediction.predictions[:, 0].sum())
        return {"nats": self.nats / self.tokens} if compute_result else {}


@pytest.mark.parametrize("labelled", [True, False])
def test_it_is_given_the_nats_and_the_scored_tokens_of_each_text(labelled, make_trainer):
    seen, data = Seen(), rows() if labelled else [{"input_ids": row["input_ids"]} for row in rows()]
    options = {"include_for_metrics": ["inputs", "loss"], "nelbo_paths": ["joint", "sequential"]}
    trainer = make_trainer("discrete", trainer_options={"compute_metrics": seen}, eval_data=data, **options)
    metrics = trainer.evaluate()
    (given,) = seen.given
    assert metrics["eval_texts"] == len(data) and given.predictions.shape == (7, 5)
    for row, ids, nats, tokens, loss in zip(
        data, given.label_ids, given.predictions, given.inputs, given.losses, strict=True
    ):
        length, scored = len(row["input_ids"]), row.get("labels", row["input_ids"])
        assert ids[:length].tolist() == scored.tolist() and (ids[length:] == -100).all()
        assert tokens[:length].tolist() == row["input_ids"].tolist()
        assert nats[0] == (ids != -100).sum() and loss == pytest.approx(nats[1:3].sum() / nats[0])
    predicted = trainer.predict(data)
    np.testing.assert_allclose(predicted.predictions, given.predictions, rtol=1e-6)
    np.testing.assert_array_equal(predicted.label_ids, given.label_ids)
    assert predicted.metrics["test_texts"] == len(data)


def test_the_evaluation_stays_what_it_is_without(make_trainer):
    plain = make_trainer("discrete", "plain", eval_data=rows()).evaluate()
    trainer = make_trainer("discrete", "with", eval_data=rows(), trainer_options={"compute_metrics": Seen()})
    counted = trainer.evaluate()
    speeds = re.compile("runtime|second|time")
    assert {name: value for name, value in counted.items() if not speeds.search(name)} == {
        **{name: value for name, value in plain.items() if not speeds.search(name)},
        "eval_texts": 7,
    }
    assert isinstance(trainer.compute_metrics, Seen)
    assert make_trainer("discrete", "again").predict(rows()).label_ids is None


@pytest.mark.parametrize("options", [{"eval_do_concat_batches": False}, {"eval_accumulation_steps": 1}])
def test_however_the_loop_keeps_the_batches(options, make_trainer):
    seen = Seen()
    made = {"per_device_eval_batch_size": 3, "include_for_metrics": ["inputs", "loss"], **options}
    trainer = make_trainer("discrete", eval_data=rows(), trainer_options={"compute_metrics": seen}, **made)
    assert trainer.evaluate()["eval_texts"] == 7
    (given,) = seen.given
    lengths = [3, 3, 1] if "eval_do_concat_batches" in options else None
    for part in (given.predictions, given.label_ids, given.inputs, given.losses):
        assert len(part) == 7 if lengths is None else [len(batch) for batch in part] == lengths
    assert trainer.predict(rows()).label_ids.shape == (7, 12)


def test_batch_by_batch_it_finds_the_same_bound(make_trainer):
    summed = Summed()
    options = {"per_device_eval_batch_size": 3, "batch_eval_metrics": True, "include_for_metrics": ["inputs", "loss"]}
    trainer = make_trainer("discrete", eval_data=rows(), trainer_options={"compute_metrics": summed}, **options)
    metrics = trainer.evaluate()
    assert metrics["eval_nats"] == pytest.approx(metrics["eval_loss"], rel=1e-9)
    assert [len(given.predictions) for given in summed.given] == [len(given.losses) for given in summed.given]
    assert [len(given.label_ids) for given in summed.given] == [3, 3, 1]
    assert all("number_in_stream" not in given.inputs for given in summed.given)
    plain = make_trainer("discrete", "plain", eval_data=rows(), per_device_eval_batch_size=3).evaluate()
    assert metrics["eval_loss"] == plain["eval_loss"]
    again = Summed()
    trainer.compute_metrics = again
    assert trainer.predict(rows()).metrics["test_nats"] == metrics["eval_nats"]


def test_a_text_that_fills_up_a_shared_stream_is_left_out(make_trainer):
    seen = Seen()
    args = make_trainer("none", include_for_metrics=[]).args
    args.include_for_metrics = ["loss"]
    numbered = np.array([[0.0, 2, 1, 1], [1, 2, 3, 1], [0, 2, 1, 1]])
    labels = np.array([[1, 2], [3, 4], [1, 2]])

    class Prediction:
        predictions, label_ids, inputs = numbered, labels, None

    assert TextMetrics(seen, args)(Prediction) == {"texts": 2}
    (given,) = seen.given
    assert given.predictions.tolist() == numbered[:2, 1:].tolist() and given.label_ids.tolist() == labels[:2].tolist()
    assert given.losses.tolist() == [1, 2]
    batches = TextMetrics(seen, args)
    for first in (0, 1):  # the same texts in the next batch
        Prediction.predictions, Prediction.label_ids = torch.tensor(numbered[first:]), torch.tensor(labels[first:])
        batches(Prediction, compute_result=first == 1)
    assert [len(one.predictions) for one in seen.given[1:]] == [2, 0]


def test_its_metrics_choose_the_best_weights_and_are_named_by_the_data_set(make_trainer):
    values = iter([3.0, 1.0, 2.0])
    trainer = make_trainer(
        "none",
        eval_data=texts(3),
        trainer_options={"compute_metrics": lambda prediction: {"mine": next(values)}},
        **{"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2},
        **{"metric_for_best_model": "mine", "greater_is_better": False, "load_best_model_at_end": True},
    )
    trainer.train()
    assert logged(trainer, "eval_mine") == [3, 1, 2] and trainer.state.best_metric == 1
    assert trainer.state.best_global_step == 4
    seen = Seen()
    named = make_trainer(
        "none", "two", eval_data={"a": texts(3), "b": texts(4)}, trainer_options={"compute_metrics": seen}
    )
    found = named.evaluate()
    assert (found["eval_a_texts"], found["eval_b_texts"], len(seen.given)) == (3, 4, 2)


@pytest.mark.parametrize(
    ("compute", "options", "message"),
    [
        (3, {}, "`compute_metrics` is 3; give a callable"),
        (Seen(), {"prediction_loss_only": True}, "with `prediction_loss_only` there are no predictions"),
        (Seen(), {"include_for_metrics": ["logits"]}, "`include_for_metrics` holds 'logits'; give 'inputs', 'loss'"),
        (None, {"include_for_metrics": ["loss"]}, "`include_for_metrics` is ['loss'], but there is no"),
        (None, {"batch_eval_metrics": True}, "`batch_eval_metrics` is True, but there is no `compute_metrics`"),
        (Seen(), {"batch_eval_metrics": True}, "`compute_metrics` has no parameter `compute_result`"),
    ],
)
def test_what_would_not_be_called_is_refused(compute, options, message, make_trainer):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        make_trainer("none", trainer_options={"compute_metrics": compute}, **options)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "message"),
    [(None, "`compute_metrics` returned None; return a mapping"), ({"loss": 1.0}, "returns ['eval_loss'], which are")],
)
def test_metrics_that_are_none_or_the_bounds_own_are_refused(found, message, make_trainer):
    trainer = make_trainer("none", eval_data=texts(3), trainer_options={"compute_metrics": lambda prediction: found})
    with pytest.raises(ValueError, match=re.escape(message)):
        trainer.evaluate()
