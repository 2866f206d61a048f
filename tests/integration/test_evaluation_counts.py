"""Evaluation counts each text once, whatever training leaves out, and says so where there is nothing to count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers.training import logged, texts
from torch.utils.data import DataLoader

from ladd_hf.training.evaluation_streams import NUMBER, NumberedCollator, NumberedTexts, each_once


def bound(make_trainer, folder="run", **options):
    return make_trainer("discrete", folder, eval_data=texts(7, seed=1), **options).evaluate()["eval_loss"]


@pytest.mark.parametrize("batch", [2, 4, 8])
def test_texts_that_do_not_fill_a_batch_count_even_where_training_drops_them(batch, make_trainer):
    kept = bound(make_trainer, "kept", per_device_eval_batch_size=batch)
    dropped = bound(make_trainer, "dropped", per_device_eval_batch_size=batch, dataloader_drop_last=True)
    assert dropped == kept
    trainer = make_trainer("discrete", "again", dataloader_drop_last=True, per_device_eval_batch_size=batch)
    assert len(trainer.predict(texts(7, seed=1)).predictions) == 7
    assert trainer.args.dataloader_drop_last


@pytest.mark.parametrize(("concat", "batch"), [(True, 4), (False, 4), (False, 8), (False, 3)])
def test_the_bound_is_that_of_all_texts_however_the_loop_keeps_them(concat, batch, make_trainer, stirred_model):
    data, model = texts(7, seed=1), stirred_model("discrete")
    options = {"eval_do_concat_batches": concat, "per_device_eval_batch_size": batch}
    found = make_trainer(model, eval_data=data, nelbo_paths=["joint", "sequential"], **options).evaluate()
    each = [
        make_trainer(model, f"{number}", eval_data=[row], nelbo_paths=["joint", "sequential"]).evaluate()
        for number, row in enumerate(data)
    ]
    for name in ("eval_loss", "eval_joint_token_nats", "eval_sequential_latent_nats"):
        assert found[name] == pytest.approx(np.mean([one[name] for one in each]), rel=1e-5), name


def test_nothing_to_score_is_told(make_trainer):
    context = [{**row, "labels": torch.full_like(row["input_ids"], -100)} for row in texts(3)]
    with pytest.raises(ValueError, match="The data set of `eval` holds no token to score: every one is padding"):
        make_trainer("discrete", eval_data=context).evaluate()
    half = [*({**row, "labels": row["input_ids"]} for row in texts(3)), *context]
    assert np.isfinite(make_trainer("discrete", "half", eval_data=half).evaluate()["eval_loss"])


def test_an_empty_set_is_told_before_anything_is_trained(make_trainer):
    empty = Dataset.from_dict({"input_ids": []})
    for given in (empty, []):
        with pytest.raises(ValueError, match="The data set `eval_dataset` is empty"):
            make_trainer("none", eval_data=given)
    with pytest.raises(ValueError, match=r"The data set `eval_dataset\['other'\]` is empty"):
        make_trainer("none", eval_data={"mine": texts(2), "other": empty})
    with pytest.raises(ValueError, match="The data set `train_dataset` is empty"):
        make_trainer("none", data=[]).train()
    with pytest.raises(ValueError, match="The data set `train_dataset` is empty"):
        make_trainer("none", "other", data=empty).train()
    trainer = make_trainer("none", "stream")
    with pytest.raises(ValueError, match="The data set of `eval` holds no text"):
        trainer.evaluate(Dataset.from_dict({"input_ids": [[1, 2]]}).to_iterable_dataset().filter(lambda row: False))


# --- streams that processes share (their evaluation: test_trainer_distributed.py) ---


@pytest.mark.parametrize("workers", [0, 2])
def test_the_texts_of_a_stream_are_numbered_apart(workers):
    stream = Dataset.from_dict({"input_ids": [[n, n] for n in range(9)]}).to_iterable_dataset(num_shards=3)
    collator = NumberedCollator(lambda rows: {"input_ids": torch.tensor([row["input_ids"] for row in rows])})
    loader = DataLoader(NumberedTexts(stream), batch_size=2, collate_fn=collator, num_workers=workers)
    batches = list(loader)
    numbers = torch.cat([batch[NUMBER] for batch in batches]).tolist()
    tokens = torch.cat([batch["input_ids"] for batch in batches])
    assert len(numbers) == len(set(numbers)) == 9 and sorted(tokens[:, 0].tolist()) == list(range(9))


def test_a_number_counts_where_it_first_stands_and_rows_without_one_all_count():
    assert each_once(np.array([3.0, 1, 3, 2, 1, 0])).tolist() == [0, 1, 3, 5]
    assert each_once(np.array([-1.0, -1, -1])).tolist() == [0, 1, 2]


# --- evaluation leaves the training alone ---


@pytest.mark.parametrize("kind", ["discrete", "vector"])
def test_a_run_that_is_evaluated_learns_what_it_learns_without(kind, make_trainer, tiny_model):
    runs = []
    for name, options in (
        ("without", {}),
        ("with", {"eval_strategy": "steps", "eval_steps": 1, "eval_on_start": True}),
    ):
        model = tiny_model(kind, attention_dropout=0.3)
        trainer = make_trainer(model, name, eval_data=texts(5, seed=1), **options)
        trainer.train()
        runs.append((logged(trainer), model.state_dict()))
    assert runs[0][0] == runs[1][0]
    assert not [name for name, weight in runs[0][1].items() if not torch.equal(weight, runs[1][1][name])]


def test_evaluation_and_prediction_leave_the_generators_where_they_stood(make_trainer):
    import random

    trainer = make_trainer("none", eval_data=texts(5, seed=1))

    def drawn():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()

    def seed():
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)

    seed()
    expected = drawn()
    for measure in (trainer.evaluate, lambda: trainer.predict(texts(3))):
        seed()
        measure()
        assert drawn() == expected


def test_texts_grouped_by_length_come_in_the_same_order_after_a_resume_in_any_epoch(make_trainer):
    data = [{"input_ids": row["input_ids"][: 4 + number % 9]} for number, row in enumerate(texts(32))]
    options = {"data": data, "train_sampling_strategy": "group_by_length", "max_steps": 10}
    whole = make_trainer("none", "whole", save_strategy="steps", save_steps=6, **options)
    whole.train()
    resumed = make_trainer("none", "resumed", **options)
    torch.rand(5)
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-6")
    assert logged(resumed) == logged(whole) and len(logged(whole)) == 10
    orders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        trainer = make_trainer("none", f"{seed}", **options)
        sampler = trainer._get_train_sampler()
        torch.manual_seed(seed)
        orders.append([list(sampler), (sampler.set_epoch(1), list(sampler))[1]])
    assert orders[0] == orders[1] and orders[0][0] != orders[0][1]
    assert sorted(orders[0][1]) == list(range(32))
