"""The averaged weights are evaluated, saved and pushed, and evaluation computes the bound."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers.training import Interfere, assert_same, averaged_weights, logged, state_of, texts
from safetensors.torch import load_file

from ladd_hf import (
    LaddForDiffusionLM,
    LaddPipeline,
    LaddSequentialScheduler,
    RowGenerator,
)
from ladd_hf.diffusion.nelbo import nelbo
from ladd_hf.training.ema import EMA_FILE

# --- evaluation ---


@pytest.mark.parametrize("kind", ["none", "discrete"])
def test_evaluation_gives_the_bound_whatever_the_batch_and_the_order(kind, make_trainer, stirred_model):
    model, data = stirred_model(kind), texts(7)
    paths = ["joint", "sequential"]
    results = []
    for folder, batch, dataset in (("a", 1, data), ("b", 3, data[::-1]), ("c", 8, data)):
        trainer = make_trainer(
            model, folder, eval_data=dataset, per_device_eval_batch_size=batch, nelbo_paths=paths, nelbo_samples=3
        )
        results.append(trainer.evaluate())
    tokens = torch.stack([row["input_ids"] for row in data])
    for path in paths:
        bound = model.nelbo(tokens, None, path, 3, RowGenerator.from_content(trainer.args.seed, tokens))
        for result in results:
            assert result[f"eval_{path}_nelbo"] == pytest.approx(bound.nats_per_token, rel=1e-5)
            assert result[f"eval_{path}_token_nats"] == pytest.approx(float(bound.token_nats.sum()) / 84, rel=1e-5)
            assert result[f"eval_{path}_latent_nats"] == pytest.approx(float(bound.latent_nats.sum()) / 84, rel=1e-5)
    assert results[0]["eval_loss"] == results[0]["eval_joint_nelbo"]
    assert results[0]["eval_perplexity"] == pytest.approx(math.exp(results[0]["eval_loss"]))


@pytest.mark.parametrize(
    ("kind", "path", "is_bound"),
    [
        ("none", "tokens", True),
        ("discrete", "joint", True),
        ("discrete", "tokens", False),  # of the tokens given their codes
        ("continuous", "joint", False),
    ],
)
def test_there_is_a_perplexity_where_there_is_a_bound_on_the_texts(kind, path, is_bound, make_trainer):
    metrics = make_trainer(kind, eval_data=texts(4), nelbo_paths=[path], nelbo_samples=1).evaluate()
    assert ("eval_perplexity" in metrics) == is_bound


def pad_to_the_longest(examples):
    longest = max(len(example["input_ids"]) for example in examples)
    rows = [torch.nn.functional.pad(e["input_ids"], (0, longest - len(e["input_ids"]))) for e in examples]
    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    return {"input_ids": torch.stack(rows), "attention_mask": (torch.arange(longest) < lengths[:, None]).long()}


@pytest.mark.parametrize("kind", ["none", "discrete"])
def test_evaluation_of_padded_texts_does_not_depend_on_how_far_they_are_padded(kind, make_trainer, stirred_model):
    model = stirred_model(kind)
    data = [{"input_ids": row["input_ids"][: 4 + i]} for i, row in enumerate(texts(9))]
    results = [
        make_trainer(
            model,
            f"{batch}",
            eval_data=data,
            per_device_eval_batch_size=batch,
            trainer_options={"data_collator": pad_to_the_longest},
        ).evaluate()["eval_loss"]
        for batch in (1, 2, 9)
    ]
    assert results == pytest.approx([results[0]] * 3, rel=1e-5)


def test_evaluation_scores_what_labels_score(make_trainer, stirred_model):
    model = stirred_model("none")
    data = [{**row, "labels": torch.where(torch.arange(12) < 5, -100, row["input_ids"])} for row in texts(8)]
    trainer = make_trainer(model, eval_data=data, nelbo_samples=2)
    result = trainer.evaluate()
    tokens = torch.stack([row["input_ids"] for row in data])
    maskable = torch.stack([row["labels"] for row in data]) != -100
    random = RowGenerator.from_content(trainer.args.seed, tokens)
    expected = nelbo(model, tokens, maskable, None, "joint", 2, random)
    assert result["eval_loss"] == pytest.approx(expected.nats_per_token, rel=1e-5), "the rest is context"


def test_evaluation_uses_the_average_and_leaves_training_as_it_was(make_trainer, tiny_model):
    data = texts(8, seed=1)
    plain = make_trainer("discrete", "plain")
    plain.train()
    watched = make_trainer("discrete", "watched", eval_data=data, eval_strategy="steps", eval_steps=2)
    watched.train()
    assert_same(state_of(plain), state_of(watched))
    model = tiny_model("discrete")
    model.load_state_dict(averaged_weights(watched))
    averaged = make_trainer(model, "averaged", eval_data=data).evaluate()["eval_loss"]
    assert watched.evaluate()["eval_loss"] == averaged == logged(watched, "eval_loss")[-1]


# --- what is published ---


def test_saved_models_are_averages_and_checkpoints_hold_both(make_trainer, tmp_path):
    trainer = make_trainer("discrete", save_strategy="steps", save_steps=6)
    trainer.train()
    plain, average = copy.deepcopy(trainer.model.state_dict()), averaged_weights(trainer)
    assert not torch.equal(plain["token_head.proj.weight"], average["token_head.proj.weight"])
    trainer.save_model(str(tmp_path / "saved"))
    assert_same(dict(LaddForDiffusionLM.from_pretrained(tmp_path / "saved").state_dict()), average)
    assert not (tmp_path / "saved" / EMA_FILE).exists()
    checkpoint = tmp_path / "run" / "checkpoint-6"
    assert_same(dict(LaddForDiffusionLM.from_pretrained(checkpoint).state_dict()), dict(plain))
    kept = load_file(checkpoint / EMA_FILE)
    assert_same(kept, {name: average[name] for name in kept})
    assert_same(dict(trainer.model.state_dict()), dict(plain))


def test_what_is_pushed_is_the_average(make_trainer, monkeypatch):
    trainer = make_trainer("none", max_steps=3)
    trainer.train()
    uploaded = {}

    class Hub:
        def upload_folder(self, folder_path, **kwargs):
            uploaded.update(load_file(f"{folder_path}/model.safetensors"))

    monkeypatch.setattr("transformers.trainer.hf_api", Hub)
    monkeypatch.setattr(trainer, "create_model_card", lambda *args, **kwargs: None)
    trainer.hub_model_id = "someone/something"
    trainer.push_to_hub()
    average = averaged_weights(trainer)
    assert_same(uploaded, {name: average[name] for name in uploaded})


def test_without_an_average_the_weights_are_saved_as_they_are(make_trainer, tmp_path):
    trainer = make_trainer("none", max_steps=2, ema_decay=0.0, save_strategy="steps", save_steps=2)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    saved = dict(LaddForDiffusionLM.from_pretrained(tmp_path / "saved").state_dict())
    assert_same(saved, dict(trainer.model.state_dict()))
    assert trainer.ema is None and not (tmp_path / "run" / "checkpoint-2" / EMA_FILE).exists()


def test_the_best_checkpoint_is_loaded_with_its_average(make_trainer, tmp_path):
    trainer = make_trainer(
        "none",
        eval_data=texts(8),
        save_strategy="steps",
        eval_strategy="steps",
        save_steps=2,
        eval_steps=2,
        load_best_model_at_end=True,
        callbacks=[Interfere(lambda step, model: step > 3 and model.token_head.proj.weight.data.normal_(std=5.0))],
    )
    trainer.train()
    best = tmp_path / "run" / "checkpoint-2"
    assert trainer.state.best_model_checkpoint == str(best)
    average = averaged_weights(trainer)
    kept = load_file(best / EMA_FILE)
    assert_same(kept, {name: average[name] for name in kept})


def test_a_model_made_by_the_trainer_is_the_one_that_is_averaged(make_trainer, tiny_model):
    trainer = make_trainer(None, trainer_options={"model_init": lambda: tiny_model("none")})
    trainer.train()
    average = averaged_weights(trainer)
    assert not torch.equal(average["token_head.proj.weight"], trainer.model.token_head.proj.weight)
    assert average["token_head.proj.weight"].any(), "heads start at zero: it has learnt"


def test_a_saved_pipeline_loads_and_writes(make_trainer, tmp_path):
    trainer = make_trainer("discrete", max_steps=2)
    trainer.train()
    trainer.save_pipeline(str(tmp_path / "pipeline"), scheduler=LaddSequentialScheduler())
    loaded = LaddPipeline.from_pretrained(tmp_path / "pipeline")
    loaded.set_progress_bar_config(disable=True)
    assert isinstance(loaded.scheduler, LaddSequentialScheduler)
    assert_same(dict(loaded.model.state_dict()), averaged_weights(trainer))
    written = loaded(num_steps=4, batch_size=2, generator=torch.Generator().manual_seed(0))
    assert written.sequences.shape == (2, 12) and (written.sequences != 10).all() and written.nfe == 4
