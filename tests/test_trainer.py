"""Training goes on after a stop as if there had been none, is blind to how a batch is cut, and publishes averages."""

from __future__ import annotations

import copy
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast, TrainerCallback

from ladd_hf import (
    LaddForDiffusionLM,
    LaddPipeline,
    LaddSequentialScheduler,
    LaddTrainer,
    LaddTrainingArguments,
    RowGenerator,
)
from ladd_hf.ema import EMA_FILE
from ladd_hf.loss_monitor import NonFiniteLossError
from ladd_hf.nelbo import nelbo

RICH = {"latent_dropout": 0.2, "encoder_corruption": 0.5, "fully_masked_share": 0.3, "time_distribution": "joint"}


def texts(rows=64, length=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [{"input_ids": row} for row in torch.randint(1, 10, (rows, length), generator=generator)]


@pytest.fixture
def make_trainer(tiny_model, tmp_path):
    """`make_trainer(kind or model, folder="run", data=..., eval_data=..., callbacks=..., **arguments)`."""

    def make(model, folder="run", data=None, eval_data=None, callbacks=None, trainer_options=None, **options):
        arguments = {
            "use_cpu": True,
            "disable_tqdm": True,
            "per_device_train_batch_size": 8,
            "max_steps": 6,
            "logging_steps": 1,
            "save_strategy": "no",
            "learning_rate": 3e-3,
            "lr_scheduler_type": "constant",
            "ema_decay": 0.9,
            **options,
        }
        return LaddTrainer(
            tiny_model(model) if isinstance(model, str) else model,
            LaddTrainingArguments(str(tmp_path / folder), **arguments),
            train_dataset=texts() if data is None else data,
            eval_dataset=eval_data,
            callbacks=callbacks,
            **(trainer_options or {}),
        )

    return make


def state_of(trainer):
    """All that a run has learnt: weights, buffers, and the average."""
    state = {name: weight.detach().clone() for name, weight in trainer.model.state_dict().items()}
    return state | {f"average {i}": weight.clone() for i, weight in enumerate(trainer.ema.average.shadow_params)}


def averaged_weights(trainer):
    with trainer.ema.applied():
        return {name: weight.clone() for name, weight in trainer.model.state_dict().items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different, different


def logged(trainer, name="loss"):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


class Interfere(TrainerCallback):
    """Calls `action(step, model)` after each step."""

    def __init__(self, action):
        self.action = action

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.action(state.global_step, model)


# --- it trains ---


@pytest.mark.parametrize("kind", ["none", "continuous", "separate", "discrete", "vector", "gumbel"])
def test_every_kind_trains_and_logs_the_parts_of_its_loss(kind, make_trainer):
    of_latents = ("latent_dropout", "encoder_corruption")
    options = {name: value for name, value in RICH.items() if kind != "none" or name not in of_latents}
    trainer = make_trainer(kind, max_steps=3, **options)
    trainer.train()
    expected = {"token_loss"} | (set() if kind == "none" else {"latent_loss"})
    discrete = trainer.model.config.latent_type == "discrete"
    expected |= {"commitment_loss", "codes_in_batch"} if discrete else set()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(entries) == 3
    for entry in entries:
        assert expected <= entry.keys()
        total = sum(entry[name] for name in expected - {"codes_in_batch"})
        assert entry["loss"] == pytest.approx(total, abs=2e-4), "all weights are 1"


def test_a_model_learns_what_it_is_shown(make_trainer):
    data = [{"input_ids": torch.tensor([1, 2, 3, 4, 5, 6] * 2)}] * 32
    trainer = make_trainer("discrete", data=data, eval_data=data[:8], max_steps=60, learning_rate=1e-2, ema_decay=0.5)
    assert trainer.evaluate()["eval_joint_token_nats"] == pytest.approx(math.log(10), abs=1.0), "nothing is known yet"
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.65 * math.log(10)


def test_a_log_of_several_steps_is_the_mean_of_their_logs(make_trainer):
    each, pairs = make_trainer("discrete", "each"), make_trainer("discrete", "pairs", logging_steps=2)
    each.train()
    pairs.train()
    for name in ("loss", "token_loss", "latent_loss", "codes_in_batch"):
        single = logged(each, name)
        means = [(a + b) / 2 for a, b in zip(single[::2], single[1::2], strict=True)]
        assert logged(pairs, name) == pytest.approx(means, abs=2e-4)


def test_noise_is_new_in_each_step_and_the_same_in_a_second_run(make_trainer):
    data = texts(1) * 64
    losses = []
    for folder in ("first", "second", "other seed"):
        seed = 7 if folder == "other seed" else 42
        trainer = make_trainer("none", folder, data=data, learning_rate=0.0, seed=seed)
        trainer.train()
        losses.append(logged(trainer))
    assert len(set(losses[0])) == 6
    assert losses[0] == losses[1] != losses[2]


def test_mixed_precision_trains(make_trainer):
    trainer = make_trainer("discrete", bf16=True, max_steps=2)
    trainer.train()
    assert all(math.isfinite(loss) for loss in logged(trainer))


# --- how a batch is cut ---


@pytest.mark.parametrize("kind", ["none", "discrete"])
def test_accumulated_batches_are_one_large_batch(kind, make_trainer, stirred_model):
    options = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "max_steps": 3}
    options |= {"encoder_corruption": 0.5} if kind == "discrete" else {}
    runs = []
    for batch, accumulated in ((32, 1), (8, 4)):
        model = stirred_model(kind)
        trainer = make_trainer(
            model,
            f"{accumulated}",
            data=texts(96),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulated,
            **options,
        )
        trainer.train()
        runs.append((logged(trainer), model.state_dict()))
    assert runs[0][0] == pytest.approx(runs[1][0], abs=2e-4)
    for name, weight in runs[0][1].items():  # plain gradient descent: a gradient's scale would show
        torch.testing.assert_close(runs[1][1][name], weight, atol=1e-5, rtol=1e-4, msg=name)


# --- stopping and going on ---


def train_and_resume(make_trainer, kind, **options):
    """State and losses of a run of six steps, and of its second half after a resume in a fresh model."""
    whole = make_trainer(kind, "whole", save_strategy="steps", save_steps=3, **options)
    whole.train()
    checkpoint = f"{whole.args.output_dir}/checkpoint-3"
    resumed = make_trainer(kind, "resumed", **options)
    with torch.no_grad():
        for weight in resumed.model.parameters():
            weight.add_(1.0)
    torch.rand(7)
    resumed.train(resume_from_checkpoint=checkpoint)
    return whole, resumed


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("none", {}),
        ("continuous", RICH | {"latent_warmup_steps": 5}),
        ("discrete", {"stage_1_steps": 2}),
        ("discrete", {"stage_1_steps": 3}),
        ("vector", {"stage_1_steps": 4}),
        ("gumbel", {"gradient_accumulation_steps": 2}),
    ],
    ids=["none", "one stage", "in stage 2", "at the boundary", "before the boundary", "accumulating"],
)
def test_a_resumed_run_ends_where_the_whole_run_ends_to_the_bit(kind, options, make_trainer):
    whole, resumed = train_and_resume(make_trainer, kind, **options)
    assert_same(state_of(whole), state_of(resumed))
    assert logged(whole) == logged(resumed) and len(logged(whole)) == 6
    assert whole.ema.average.optimization_step == resumed.ema.average.optimization_step == 6


def test_the_order_of_the_data_is_the_runs_and_not_torchs(make_trainer):
    losses = []
    for seed in (1, 2):
        trainer = make_trainer("none", f"{seed}", max_steps=3)
        torch.manual_seed(seed)  # by whoever else runs in the process
        trainer.train()
        losses.append(logged(trainer))
    assert losses[0] == losses[1]


def test_a_checkpoint_can_be_moved_and_renamed(make_trainer, tmp_path):
    whole = make_trainer("none", "whole", save_strategy="steps", save_steps=3)
    whole.train()
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "the best one")
    resumed = make_trainer("none", "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "the best one"))
    assert_same(state_of(whole), state_of(resumed))


def test_an_output_folder_with_a_run_in_it_is_refused_unless_the_run_is_to_go_on(make_trainer):
    options = {"save_strategy": "steps", "save_steps": 2}
    whole = make_trainer("discrete", "whole", max_steps=4)
    whole.train()
    make_trainer("discrete", max_steps=2, **options).train()
    with pytest.raises(
        ValueError, match=r"already holds a run \(up to checkpoint-2\): choose another folder, or go on"
    ):
        make_trainer("discrete", max_steps=4, **options).train()
    resumed = make_trainer("discrete", max_steps=4, resume_if_exists=True, **options)
    resumed.train()
    assert resumed.state.global_step == 4
    assert_same(state_of(whole), state_of(resumed))
    again = make_trainer("discrete", "empty", max_steps=4, resume_if_exists=True)
    again.train()
    assert_same(state_of(whole), state_of(again))


def test_a_run_with_an_average_does_not_go_on_from_one_without(make_trainer):
    without = make_trainer("none", "without", max_steps=2, save_strategy="steps", save_steps=2, ema_decay=0.0)
    without.train()
    with pytest.raises(ValueError, match="trained without EMA, so go on with `ema_decay` 0"):
        make_trainer("none").train(resume_from_checkpoint=f"{without.args.output_dir}/checkpoint-2")


# --- losses that are no numbers ---


def spoil(at, part):
    """Makes weights nan after a step, as an optimiser gone wild would."""

    def action(step, model):
        if step == at:
            with torch.no_grad():
                getattr(model, part).modulation.bias.fill_(math.nan)

    return Interfere(action)


@pytest.mark.parametrize(("head", "term"), [("token_head", "token_loss"), ("latent_head", "latent_loss")])
def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_term(head, term, make_trainer, tmp_path):
    trainer = make_trainer(
        "continuous", save_strategy="steps", save_steps=1, max_steps=6, callbacks=[spoil(at=3, part=head)]
    )
    with pytest.raises(NonFiniteLossError, match=f"`{term}` was not finite at step 4: training stops"):
        trainer.train()
    checkpoint = tmp_path / "run" / "checkpoint-2"
    assert all(weight.isfinite().all() for weight in load_file(checkpoint / "model.safetensors").values())
    assert not (tmp_path / "run" / "checkpoint-4").exists()


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_gradient_that_is_no_number_stops_the_run_before_it_reaches_the_weights(bad, make_trainer):
    trainer = make_trainer("none")
    weight = trainer.model.token_head.proj.weight
    weight.register_hook(lambda grad: torch.full_like(grad, bad) if trainer.state.global_step == 2 else grad)
    with pytest.raises(NonFiniteLossError, match="`gradient norm` was not finite at step 3"):
        trainer.train()
    assert weight.isfinite().all() and trainer.state.global_step == 2


def test_no_checkpoint_is_written_after_a_loss_that_is_no_number(make_trainer, tmp_path):
    trainer = make_trainer("none", max_steps=1)
    trainer.train()
    trainer._monitor.add({"token_loss": torch.tensor(math.nan)}, 0)  # on a device nobody has looked yet
    with pytest.raises(NonFiniteLossError, match="`token_loss` was not finite at step 1"):
        trainer._save_checkpoint(trainer.model, trial=None)
    assert not (tmp_path / "run" / "checkpoint-1").exists()


# --- two stages ---


@pytest.mark.parametrize("kind", ["continuous", "discrete", "vector", "gumbel"])
def test_in_stage_2_the_encoder_is_fixed_at_its_average_and_the_rest_learns(kind, make_trainer):
    seen = []

    def look(step, model):
        seen.append({name: weight.detach().clone() for name, weight in model.state_dict().items()})

    trainer = make_trainer(kind, stage_1_steps=3, callbacks=[Interfere(look)])
    average = []
    trainer.add_callback(Interfere(lambda step, model: average.append(averaged_weights(trainer))))
    trainer.train()
    mine = [name for name in seen[0] if name.startswith(("encoder.", "quantizer."))]
    parameters = dict(trainer.model.named_parameters())
    for name in mine:
        assert all(torch.equal(later[name], seen[3][name]) for later in seen[4:]), "it does not move"
        if name in parameters:
            assert torch.equal(seen[3][name], average[2][name]), "it is the average of stage 1"
    moving = next(name for name in mine if name.endswith("readout.weight"))
    assert not torch.equal(seen[0][moving], seen[2][moving]) and not torch.equal(seen[2][moving], seen[3][moving])
    assert not torch.equal(seen[3]["token_head.proj.weight"], seen[5]["token_head.proj.weight"])
    published = averaged_weights(trainer)
    assert_same({name: published[name] for name in mine}, {name: seen[5][name] for name in mine})
    assert [entry == 0 for entry in logged(trainer, "latent_loss")] == [True] * 3 + [False] * 3


def test_an_encoder_that_came_frozen_stays_frozen_in_one_stage(make_trainer, stirred_model):
    model = stirred_model("vector")
    model.freeze_latent_encoder()
    before = copy.deepcopy(model.state_dict())
    make_trainer(model, max_steps=2).train()
    assert model.latent_encoder_frozen
    mine = [name for name in before if name.startswith(("encoder.", "quantizer."))]
    assert_same({name: before[name] for name in mine}, {name: model.state_dict()[name] for name in mine})


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


def pad_to_the_longest(examples):
    longest = max(len(example["input_ids"]) for example in examples)
    rows = [torch.nn.functional.pad(e["input_ids"], (0, longest - len(e["input_ids"]))) for e in examples]
    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    return {"input_ids": torch.stack(rows), "attention_mask": (torch.arange(longest) < lengths[:, None]).long()}


@pytest.mark.parametrize("kind", ["none", "discrete"])
def test_evaluation_of_padded_texts_does_not_depend_on_how_far_they_are_padded(kind, make_trainer, stirred_model):
    model = stirred_model(kind)
    data = [{"input_ids": row["input_ids"][: 3 + i]} for i, row in enumerate(texts(9))]
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


# --- what is refused ---


def test_a_tokenizer_with_another_mask_token_is_refused(make_trainer):
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(10)} | {"[MASK]": 10, "[X]": 11}, unk_token="w1"))
    right, wrong = (PreTrainedTokenizerFast(tokenizer_object=words, mask_token=mask) for mask in ("[MASK]", "[X]"))
    make_trainer("none", trainer_options={"processing_class": right})
    with pytest.raises(ValueError, match="mask token has id 11, the model's `mask_token_id` is 10"):
        make_trainer("none", trainer_options={"processing_class": wrong})


def test_an_output_folder_with_a_finished_model_is_refused_and_left_as_it_is(make_trainer, tmp_path):
    make_trainer("none", max_steps=1).save_model()
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    for resume in (False, True):
        with pytest.raises(
            ValueError, match=r"already holds a model .* and no checkpoint to go on from: choose another"
        ):
            make_trainer("none", max_steps=1, resume_if_exists=resume).train()
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("none", {"latent_dropout": 0.1}, "`latent_dropout` is 0.1, which does nothing .* 'none'"),
        ("discrete", {"latent_kl_weight": 0.1}, "`latent_kl_weight` is 0.1, which does nothing .* 'discrete'"),
        ("continuous", {"quantizer_dropout": 0.1}, "`quantizer_dropout` is 0.1, which does nothing .* 'continuous'"),
        ("none", {"stage_1_steps": 2, "stage_1_latent_dropout": 0.1}, "`latent_dropout` is 0.1, which does nothing"),
    ],
)
def test_terms_that_the_model_does_not_have_are_refused(kind, options, message, make_trainer):
    with pytest.raises(ValueError, match=message):
        make_trainer(kind, **options)


def test_texts_of_different_lengths_are_padded_with_the_models_token(make_trainer):
    data = [{"input_ids": row["input_ids"][: 6 + index % 7]} for index, row in enumerate(texts())]
    make_trainer("discrete", data=data, max_steps=2).train()
    with pytest.raises(ValueError, match="there is no padding token"):
        trainer = make_trainer("discrete", folder="other", data=data, max_steps=2)
        trainer.data_collator.pad_token_id = None
        trainer.train()
