"""A card tells the truth: of the weights that are saved, what was measured on which data, and how they were trained."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.encoders import save_encoder
from helpers.model_cards import SAMPLES
from helpers.sampling import tiny_tokenizer
from helpers.training import Interfere, texts, two_stages
from huggingface_hub import ModelCard

from ladd_hf.training.run_record import RECORD_FILE

OURS, THEIRS = texts(8, seed=1), texts(9, seed=2)
SPOILT = 3  # steps after which the weights are spoilt
STEPS = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}


def tables(card):
    """Each table of a card's figures: the sum of its first path, and the sentence under it."""
    found = re.findall(r"\| joint \|.*\| (\d+\.\d+) \|\n(?:\|.*\n)*\nAfter (.*)\n", card.text)
    return {sentence: float(figure) for figure, sentence in found}


def spoil(step, model):
    if step >= SPOILT:
        with torch.no_grad():
            model.token_head.proj.weight.normal_(std=5.0)


def rounded(figure):
    return pytest.approx(figure, abs=6e-5)


# --- figures are of the weights that are saved ---


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_best_weights_card_has_the_best_weights_figures(decay, make_trainer, tmp_path):
    trainer = make_trainer(
        "none", eval_data=OURS, load_best_model_at_end=True, ema_decay=decay, callbacks=[Interfere(spoil)], **STEPS
    )
    trainer.train()
    trainer.save_pipeline(str(tmp_path / "pipeline"))
    card = ModelCard.load(tmp_path / "pipeline" / "README.md")
    history = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
    assert history[6] > 2 * history[2] and trainer.trained_steps == 2
    ((sentence, figure),) = tables(card).items()
    assert figure == rounded(history[2]) and sentence.startswith("2 steps; list (8 examples)")
    (result,) = card.data.eval_results
    assert result.metric_value == history[2] == trainer.evaluate()["eval_loss"]
    assert "| steps | 2, the best of 6 |" in card.text
    assert tables(trainer.model_card()) == {sentence: figure}, "measured again, it is the same"


def test_figures_of_earlier_weights_are_told_as_theirs_and_are_no_results_of_these(make_trainer):
    trainer = make_trainer("none", eval_data=OURS, max_steps=4)
    trainer.train()
    trainer.evaluate()
    trainer.args.max_steps = 2
    trainer.train()
    card = trainer.model_card()
    (sentence,) = tables(card)
    assert sentence.startswith("4 steps, of weights that have been trained on since, to 6; list (8 examples)")
    assert card.data.eval_results is None
    trainer.evaluate()
    card = trainer.model_card()
    assert [one.metric_args["step"] for one in card.data.eval_results] == [6]
    assert "After 6 steps; list" in card.text and "since" not in card.text


def test_a_resumed_run_has_the_figures_of_its_checkpoint_and_none_of_what_came_after_it(make_trainer):
    whole = make_trainer("none", "whole", eval_data=OURS, **STEPS)
    whole.train()
    resumed = make_trainer("none", "resumed", eval_data=OURS)
    resumed.args.max_steps = 5
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-4")
    (sentence,) = tables(resumed.model_card())
    assert sentence.startswith("4 steps, of weights that have been trained on since, to 5")
    assert tables(whole.model_card())[next(iter(tables(whole.model_card())))] != tables(resumed.model_card())[sentence]


def test_a_trainer_that_goes_back_to_a_checkpoint_forgets_what_came_after_it(make_trainer):
    trainer = make_trainer("none", eval_data=OURS, **STEPS)
    trainer.train()
    trainer.train(resume_from_checkpoint=f"{trainer.args.output_dir}/checkpoint-2")
    assert [one.steps for one in trainer._record.measurements] == [2, 4, 6]
    assert trainer.trained_steps == 6


def test_training_on_adds_its_steps_and_a_model_that_is_made_anew_begins_at_none(make_trainer, tiny_model):
    again = make_trainer("none", max_steps=2, eval_data=OURS)
    made = make_trainer(None, "made", max_steps=2, trainer_options={"model_init": lambda: tiny_model("none")})
    for trainer, steps in ((again, 4), (made, 2)):
        trainer.train()
        trainer.train()
        assert f"| steps | {steps} |" in trainer.model_card().text
    again.evaluate()
    assert [one.startswith("4 steps; ") for one in tables(again.model_card())] == [True]


def test_the_figures_that_are_pushed_with_a_checkpoint_are_its_own(make_trainer, monkeypatch, tmp_path):
    cards = []
    trainer = make_trainer("none", eval_data=OURS, **STEPS)
    monkeypatch.setattr(
        "ladd_hf.training.publishing_trainer.push_checkpoint",
        lambda one, folder: cards.append(tables(one.model_card())),
    )
    trainer.args.push_to_hub = True
    trainer.train()
    history = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert [list(card.values()) for card in cards] == [[rounded(figure)] for figure in history]
    assert [next(iter(card)).split(";")[0] for card in cards] == ["2 steps", "4 steps", "6 steps"]


# --- and of the data set that was measured ---


def test_each_data_set_has_its_figures_under_its_own_name(make_trainer, stirred_model):
    trainer = make_trainer(stirred_model("none"), eval_data=OURS)
    figures = {
        "what is ours": trainer.evaluate()["eval_loss"],
        "another set: list (9 examples)": trainer.evaluate(THEIRS)["eval_loss"],
        "test: list (9 examples)": trainer.evaluate(THEIRS, metric_key_prefix="test")["test_loss"],
        "another set: list (9 examples), number 2": trainer.evaluate(texts(9, seed=3))["eval_loss"],
        "the training data itself, list (64 examples)": trainer.evaluate(trainer.train_dataset)["eval_loss"],
    }
    trainer.evaluate(THEIRS)  # again
    card = trainer.model_card(eval_data="what is ours")
    told = {sentence.split("; ")[1]: figure for sentence, figure in tables(card).items()}
    assert told == {name: rounded(figure) for name, figure in figures.items()}
    assert len(set(told.values())) == 4, "one was measured under two names"
    assert {one.dataset_name: one.metric_value for one in card.data.eval_results} == figures
    assert "## Texts it was measured on" in card.text and "Held-out texts\n" not in card.text


def test_the_trainers_own_set_keeps_its_name_however_it_is_given(make_trainer):
    for number, given in enumerate((None, OURS)):
        trainer = make_trainer("none", f"{number}", eval_data=OURS)
        trainer.evaluate(given, metric_key_prefix="final")
        assert [one.split("; ")[1] for one in tables(trainer.model_card())] == ["list (8 examples)"]
        assert [one.split("; ")[1] for one in tables(trainer.model_card(eval_data="ours"))] == ["ours"]
        trainer.eval_dataset = THEIRS
        assert [one.split("; ")[1] for one in tables(trainer.model_card(eval_data="ours"))] == ["list (8 examples)"]


def test_several_sets_are_told_each_by_its_name(make_trainer):
    options = {"eval_strategy": "steps", "eval_steps": 2, "metric_for_best_model": "theirs_loss"}
    options |= {"load_best_model_at_end": True, "save_strategy": "steps", "save_steps": 2}
    trainer = make_trainer("none", eval_data={"ours": OURS, "theirs": THEIRS}, callbacks=[Interfere(spoil)], **options)
    trainer.train()
    history = [entry for entry in trainer.state.log_history if entry["step"] == 2]
    expected = {
        name: rounded(next(entry[f"eval_{name}_loss"] for entry in history if f"eval_{name}_loss" in entry))
        for name in ("ours", "theirs")
    }
    found = tables(trainer.model_card())
    assert {sentence.split("; ")[1].split(":")[0]: figure for sentence, figure in found.items()} == expected
    trainer.evaluate({"more": texts(3, seed=4)})
    names = [one.split("; ")[1] for one in tables(trainer.model_card(eval_data="a corpus"))]
    assert names == ["a corpus, ours", "a corpus, theirs", "more: list (3 examples)"]


@pytest.mark.parametrize(
    ("kind", "units"),
    [
        ("none", {"joint": "bound on nats per token", "tokens": "bound on nats per token"}),
        ("discrete", {"joint": "bound on nats per token", "tokens": "nats per token, given the latents: no bound"}),
        (
            "continuous",
            {
                "joint": "nats per token, relative to the smallest noise: no bound",
                "tokens": "nats per token, given the latents: no bound",
            },
        ),
    ],
)
def test_what_is_no_bound_on_the_texts_is_not_called_one(kind, units, make_trainer):
    trainer = make_trainer(kind, eval_data=OURS[:4], nelbo_paths=["joint", "tokens"], nelbo_samples=1)
    trainer.evaluate()
    found, unit = {}, ""
    for line in trainer.model_card().text.splitlines():
        unit = line.split(" | ")[-1].removesuffix(" |") if line.startswith("| path |") else unit
        if line.startswith(("| joint |", "| tokens |")):
            found[line.split(" | ")[0].removeprefix("| ")] = unit
    assert found == units


def test_scores_of_other_weights_samples_are_refused(make_trainer):
    trainer = make_trainer("none", max_steps=2)
    trainer.train()
    assert "| joint | 0.7500 |" in trainer.model_card(samples=replace(SAMPLES, step=2)).text
    trainer.model_card(samples=SAMPLES)  # of which nothing is known
    with pytest.raises(
        ValueError, match="drawn after 70 steps, and the weights are those after 2: score samples of these"
    ):
        trainer.model_card(samples=replace(SAMPLES, step=70))


# --- the circumstances are those of each step ---

CHANGES = {
    "batch size": ({"per_device_train_batch_size": 4}, "8", "4"),
    "learning rate": (
        {"learning_rate": 1e-3, "warmup_steps": 0.5},
        "0.003 (constant, 0 warm-up steps)",
        "0.001 (constant, 3 warm-up steps)",
    ),
    "seed": ({"seed": 7}, "42", "7"),
    "dtype": ({"bf16": True}, "float32", "bfloat16 mixed with float32"),
    "EMA decay": ({"ema_decay": 0.5}, "0.9", "0.5"),
    "objective": ({"fully_masked_share": 0.5}, "the default", "fully_masked_share 0.5"),
}


@pytest.mark.parametrize("fact", CHANGES)
def test_what_changed_on_the_way_is_told_with_its_steps(fact, make_trainer):
    changed, before, after = CHANGES[fact]
    first = make_trainer("none", "first", max_steps=2, save_strategy="steps", save_steps=2)
    first.train()
    resumed = make_trainer("none", "resumed", **{"max_steps": 5, **changed})
    resumed.train(resume_from_checkpoint=f"{first.args.output_dir}/checkpoint-2")
    text = resumed.model_card().text
    assert f"| {fact} | {before} (2 steps), then {after} (3 steps) |" in text
    assert text.count("), then ") == 1 and "| steps | 5 |" in text


def test_data_and_command_that_changed_are_told_too(make_trainer, monkeypatch):
    monkeypatch.setattr("sys.argv", ["first.py"])
    first = make_trainer("none", "first", max_steps=1, save_strategy="steps", save_steps=1)
    first.train()
    monkeypatch.setattr("sys.argv", ["second.py"])
    resumed = make_trainer("none", "resumed", data=texts(32), max_steps=2)
    resumed.train(resume_from_checkpoint=f"{first.args.output_dir}/checkpoint-1")
    text = resumed.model_card().text
    assert "trained on list (64 examples) (1 step), then list (32 examples) (1 step)" in text
    assert re.search(r"first.py \(1 step\), then .*second.py \(1 step\)", text)
    given = resumed.model_card(data="letters", command="make it").text
    assert "trained on letters with" in given and "\nmake it\n" in given


def test_stages_and_objective_of_a_best_step_are_that_steps(make_trainer):
    options = {"stages": two_stages(3, fully_masked_share=0.5), "load_best_model_at_end": True}
    trainer = make_trainer("discrete", eval_data=OURS, callbacks=[Interfere(spoil)], **options, **STEPS)
    trainer.train()
    text = trainer.model_card().text
    assert "| steps | 2, 2 in the stage 'encoder', the best of 6 |" in text and "fully_masked_share 0.5" in text
    assert "The prior over this model's latents is untrained: none of its 2 training steps" in text
    whole = make_trainer("discrete", "whole", stages=two_stages(3, fully_masked_share=0.5))
    whole.train()
    text = whole.model_card().text
    assert (
        "| steps | 6, 3 in the stage 'encoder', 3 in the stage 'prior' |" in text
        and "| objective | the default |" in text
    )


def test_a_checkpoint_without_a_record_is_gone_on_from_and_its_circumstances_are_not_made_up(make_trainer, tmp_path):
    first = make_trainer("none", "first", max_steps=2, save_strategy="steps", save_steps=2)
    first.train()
    checkpoint = tmp_path / "first" / "checkpoint-2"
    (checkpoint / RECORD_FILE).unlink()
    resumed = make_trainer("none", "resumed", max_steps=3, save_strategy="steps", save_steps=3)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    text = resumed.model_card().text
    assert "| steps | 3 |" in text and "| seed | not recorded (2 steps), then 42 (1 step) |" in text
    assert json.loads((tmp_path / "resumed" / "checkpoint-3" / RECORD_FILE).read_text())["steps"] == 3
    (checkpoint / RECORD_FILE).write_text('{"steps": 2, "runs"')
    with pytest.raises(ValueError, match=r"run_record.json is damaged .* take it away"):
        make_trainer("none", "damaged", max_steps=3).train(resume_from_checkpoint=str(checkpoint))


def test_a_batch_that_had_to_be_smaller_is_told_as_it_was(make_trainer, monkeypatch):
    trainer = make_trainer("none", auto_find_batch_size=True, max_steps=3)
    step = type(trainer).training_step

    def out_of_memory(self, model, inputs, *args, **kwargs):
        if len(inputs["input_ids"]) > 7 and self.state.global_step == 1:
            raise RuntimeError("CUDA out of memory.")
        return step(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(type(trainer), "training_step", out_of_memory)
    trainer.train()
    text = trainer.model_card().text
    assert "| batch size | 8 (1 step), then 7 (3 steps) |" in text and "| steps | 4 |" in text


@pytest.mark.parametrize(
    ("options", "trained", "measured"),
    [
        ({}, "float32", "float32"),
        ({"bf16": True}, "bfloat16 mixed with float32", "bfloat16 mixed with float32"),
        ({"bf16_full_eval": True}, "float32", "bfloat16"),
    ],
)
def test_training_and_figures_have_each_the_dtype_that_they_were_computed_in(options, trained, measured, make_trainer):
    trainer = make_trainer("none", eval_data=OURS[:2], max_steps=1, nelbo_samples=1, **options)
    trainer.evaluate()
    text = trainer.model_card().text
    assert f"| dtype | {trained} |" in text and f"; {measured}, seed 42" in text


def test_half_precision_that_is_asked_for_and_not_done_is_not_told(make_trainer, monkeypatch):
    trainer = make_trainer("none", bf16=True)
    monkeypatch.setattr(trainer.accelerator, "native_amp", False)
    assert "| dtype | float32 |" in trainer.model_card().text


def test_a_card_names_no_path_of_the_machine(make_trainer, tiny_model, tmp_path, monkeypatch):
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "letters")
    tokenizer = type(tokenizer).from_pretrained(tmp_path / "letters")
    encoder = save_encoder(tmp_path / "encoder")
    argv = [
        str(tmp_path / "train.py"),
        "--data",
        str(tmp_path / "texts.txt"),
        f"--output_dir={tmp_path}/out",
        "--seed=3",
    ]
    monkeypatch.setattr("sys.argv", argv)
    model = tiny_model("discrete", encoder_name_or_path=encoder)
    trainer = make_trainer(model, max_steps=1, trainer_options={"processing_class": tokenizer})
    trainer.train()
    trainer.save_pipeline(str(tmp_path / 'my "own" pipeline'))
    trainer.create_model_card(finetuned_from=str(tmp_path / "base"))
    cards = [(tmp_path / name / "README.md").read_text() for name in ('my "own" pipeline', "run")]
    for card in cards:
        assert str(tmp_path) not in card and str(Path.home()) + "/" not in card
        for said in (
            "| letters, 11 tokens |",
            "| encoder, pooled",
            "train.py --data texts.txt --output_dir=out --seed=3",
        ):
            assert said in card
    assert 'from_pretrained("my \\"own\\" pipeline")' in cards[0] and "base_model: base" in cards[1]
