"""The trainer trains every kind of model, in one stage or two, however its batches are cut."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from datasets import Dataset
from helpers.sampling import tiny_tokenizer
from helpers.training import RICH, Interfere, assert_same, averaged_weights, logged, texts, two_stages
from transformers import PreTrainedTokenizerFast

from ladd_hf import from_mdlm
from ladd_hf.data import LaddCollator, prompt_completions

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


@pytest.mark.parametrize("kind", ["none", "discrete"])
def test_prompts_are_seen_as_they_are_and_completions_alone_are_noised(kind, make_trainer):
    pairs = Dataset.from_dict({"prompt": [[1, 2, 3], [4, 5, 6]] * 8, "completion": [[7, 8, 9], [7, 8]] * 8})
    data = prompt_completions(pairs, tiny_tokenizer(), 12, special_tokens=False)
    trainer = make_trainer(kind, data=data, eval_data=data, max_steps=4)
    seen = []
    trainer.model.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    trainer.train()
    rows = torch.cat([torch.nn.functional.pad(tokens, (0, 6 - tokens.shape[1])) for tokens in seen])
    assert len(rows) >= 32 and {tuple(row) for row in rows[:, :3].tolist()} == {(1, 2, 3), (4, 5, 6)}
    assert (rows[:, 3:] == trainer.model.config.mask_token_id).any()
    assert trainer.model.config.text_lengths == {"5": 8, "6": 8}
    assert math.isfinite(trainer.evaluate()["eval_loss"])


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


# --- two stages ---


@pytest.mark.parametrize("kind", ["continuous", "discrete", "vector", "gumbel"])
def test_in_stage_2_the_encoder_is_fixed_at_its_average_and_the_rest_learns(kind, make_trainer):
    seen = []

    def look(step, model):
        seen.append({name: weight.detach().clone() for name, weight in model.state_dict().items()})

    trainer = make_trainer(kind, stages=two_stages(3), callbacks=[Interfere(look)])
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


# --- an MDLM before them ---


def test_before_the_stages_the_token_stream_learns_what_an_mdlm_learns_and_nothing_else_moves(make_trainer, tiny_model):
    mdlm = tiny_model("none")
    latents = {"latent_type": "discrete", "latent_length": 4, "latent_dim": 3, "codebook_size": 8}
    model, seen = from_mdlm(mdlm, **latents).train(), []
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    keep = Interfere(lambda step, model: seen.append({k: w.clone() for k, w in model.state_dict().items()}))
    options = {"stages": two_stages(2, mdlm=3, fully_masked_share=0.5), "max_steps": 6}
    make_trainer(model, "ladd", callbacks=[keep], **options).train()
    make_trainer(mdlm, "mdlm", max_steps=3).train()
    learnt = mdlm.state_dict()
    assert_same({name: seen[2][name] for name in learnt}, learnt)
    others = before.keys() - learnt.keys()
    assert any("quantizer" in name for name in others) and any("encoder" in name for name in others)
    assert_same({name: seen[2][name] for name in others}, {name: before[name] for name in others})
    assert not torch.equal(seen[3]["encoder.readout.weight"], before["encoder.readout.weight"]), "then the encoder does"


def test_behind_it_the_average_begins_anew(make_trainer):
    averages, weights = [], []
    trainer = make_trainer("discrete", stages=two_stages(2, mdlm=3), max_steps=6, ema_decay=0.9)
    trainer.add_callback(Interfere(lambda step, model: averages.append(averaged_weights(trainer))))
    trainer.add_callback(Interfere(lambda step, model: weights.append(copy.deepcopy(model.state_dict()))))
    trainer.train()
    assert not torch.equal(averages[2]["token_head.proj.weight"], weights[2]["token_head.proj.weight"])
    torch.testing.assert_close(averages[3], dict(weights[3]))
    assert not torch.equal(averages[4]["token_head.proj.weight"], weights[4]["token_head.proj.weight"])


def test_an_encoder_that_came_frozen_stays_frozen_in_one_stage(make_trainer, stirred_model):
    model = stirred_model("vector")
    model.freeze_latent_encoder()
    before = copy.deepcopy(model.state_dict())
    make_trainer(model, max_steps=2).train()
    assert model.latent_encoder_frozen
    mine = [name for name in before if name.startswith(("encoder.", "quantizer."))]
    assert_same({name: before[name] for name in mine}, {name: model.state_dict()[name] for name in mine})


# --- what is refused ---


def test_a_tokenizer_with_another_mask_token_is_refused(make_trainer):
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(9)} | {"[X]": 9, "[MASK]": 10}, unk_token="w1"))
    right, wrong = (PreTrainedTokenizerFast(tokenizer_object=words, mask_token=mask) for mask in ("[MASK]", "[X]"))
    make_trainer("none", trainer_options={"processing_class": right})
    with pytest.raises(ValueError, match="mask token has id 9, the model's `mask_token_id` is 10"):
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
        ("none", {"stages": two_stages(2, latent_dropout=0.1)}, "`latent_dropout` is 0.1, which does nothing"),
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


def test_texts_with_fewer_tokens_than_latents_are_refused_where_they_become_batches(make_trainer, tiny_model):
    data = [{"input_ids": row["input_ids"][: 3 + index]} for index, row in enumerate(texts(8))]
    make_trainer("none", data=data, max_steps=1).train()
    given = LaddCollator(0)
    for number, options in enumerate(({}, {"data_collator": given}, {"model_init": lambda: tiny_model("discrete")})):
        model = None if "model_init" in options else "discrete"
        trainer = make_trainer(model, f"run {number}", data=data, max_steps=1, trainer_options=options)
        with pytest.raises(ValueError, match=r"A text has 3 tokens, fewer than `latent_length` \(4\)"):
            next(iter(trainer.get_train_dataloader()))
    assert given.min_tokens == 0, "what the user holds is left as it is"


def test_weights_that_are_rounded_are_warned_of_and_others_are_not(make_trainer, stirred_model, monkeypatch):
    said = []
    monkeypatch.setattr("ladd_hf.training.trainer_checks.logger.warning", said.append)
    make_trainer(stirred_model("discrete"), "whole", max_steps=1).train()
    assert not said
    make_trainer(stirred_model("discrete").bfloat16(), "half", max_steps=1).train()
    assert len(said) == 1 and "are bfloat16, which most steps are too small to change: load the model with" in said[0]
