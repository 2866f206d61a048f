"""Every script says what is wrong in one line, by its own name, and ends with exit code 2 before anything is loaded."""

from __future__ import annotations

import sys
from dataclasses import fields

import pytest
from helpers.examples import convert_checkpoint, evaluate_ladd, finetune_lora, generate, recipes, train_ladd
from helpers.sampling import tiny_tokenizer

from ladd_hf import LaddConfig, LaddTrainingArguments

SCRIPTS = {
    "train_ladd": (train_ladd, ["--use_cpu", "--output_dir", "{out}"]),
    "evaluate_ladd": (evaluate_ladd, ["--model", "./nowhere", "--data", "./nowhere"]),
    "generate": (generate, ["--pipeline", "./nowhere", "--cpu"]),
    "finetune_lora": (finetune_lora, ["--pipeline", "./nowhere", "--use_cpu", "--output_dir", "{out}"]),
    "convert_checkpoint": (convert_checkpoint, ["nowhere.ckpt", "{out}"]),
}
NUMBER = {
    "train_ladd": "max_steps",
    "evaluate_ladd": "num_sequences",
    "generate": "num_samples",
    "finetune_lora": "learning_rate",
    "convert_checkpoint": "latent_length",
}


@pytest.fixture
def refusal(monkeypatch, capsys, tmp_path):
    """`refusal(script, *flags)`: the one line that it prints."""

    def refusal(name, *flags):
        script, needed = SCRIPTS[name]
        monkeypatch.setattr(sys, "argv", [f"{name}.py"])
        with pytest.raises(SystemExit) as stop:
            script.main([*(one.format(out=tmp_path / "out") for one in needed), *flags])
        said = capsys.readouterr().err.strip().splitlines()
        said = [line for line in said if not line.startswith(("W", "Failed"))]  # libraries' own
        assert stop.value.code == 2 and len(said) == 1, said
        assert said[0].startswith(f"{name}.py: error: ")
        return said[0]

    return refusal


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_flag_that_begins_like_another_is_not_taken_for_it(refusal, name):
    flag = f"--{NUMBER[name]}"
    said = refusal(name, flag[:-1], "5")
    assert f"{flag[:-1]} 5 is not understood; did you mean {flag}? --help lists all flags." in said


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_value_that_can_not_be_read_is_named_with_its_flag(refusal, name):
    said = refusal(name, f"--{NUMBER[name]}", "[many")
    assert f"--{NUMBER[name]}" in said and "[many" in said


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_belongs_to_no_flag_is_named(refusal, name):
    assert "stray is not understood" in refusal(name, f"--{NUMBER[name]}", "3000", "stray")


@pytest.mark.parametrize("name", ["evaluate_ladd", "generate", "finetune_lora", "convert_checkpoint"])
def test_a_model_that_is_nowhere_is_named(refusal, name):
    assert "nowhere" in refusal(name)


@pytest.mark.parametrize(
    ("name", "flag"), [("evaluate_ladd", "model"), ("generate", "pipeline"), ("finetune_lora", "pipeline")]
)
def test_what_is_needed_and_missing_is_named(monkeypatch, capsys, name, flag):
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    with pytest.raises(SystemExit) as stop:
        SCRIPTS[name][0].main([])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.count("\n") == 1 and f"--{flag}" in said


@pytest.mark.parametrize("name", ["train_ladd", "finetune_lora"])
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--ema_decay 2", "`ema_decay` is 2.0"),
        ("--optim best", "best"),
        ("--start_anew --resume_if_exists", "`start_anew` is set, and going on"),
        ("--lr_scheduler_kwargs {", "'{' is not JSON"),
        ("--accelerator_config nowhere.json", "nowhere.json"),
    ],
)
def test_settings_of_the_training_that_can_not_work_are_refused_in_a_line(refusal, name, flags, said):
    assert said in refusal(name, *flags.split())


# --- recipes ---


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    quantizer = "quantizer: {name: finite_scalar, levels: [3, 3]}\nlatent_dim: 9\n"
    path.write_text(f"max_steps: 3\n{quantizer}budgets: [4]\nseed: 7\n")
    return str(path)


def test_any_field_of_a_recipe_can_be_unset_by_a_flag(recipe):
    fields = ["latent_dim", "quantizer", "budgets", "seed", "max_steps"]
    run, model, _, training = recipes.parse_arguments([recipe, "--max_steps", "2", "--unset", *fields])
    assert model.latent_dim is None and model.quantizer is None
    assert run.budgets == recipes.RunArguments().budgets and training.seed == LaddTrainingArguments("out").seed
    assert training.max_steps == 2, "a flag counts, whatever is unset"
    assert recipes.parse_arguments([recipe])[1].quantizer == {"name": "finite_scalar", "levels": [3, 3]}


@pytest.mark.parametrize(
    ("flag", "quantizer"),
    [
        ("{levels: [4, 4]}", {"name": "finite_scalar", "levels": [4, 4]}),
        ('{"name": "vector", "decay": 0.9}', {"name": "vector", "decay": 0.9}),
        ("gumbel", "gumbel"),
    ],
)
def test_a_flag_changes_options_of_the_recipes_choice_or_makes_another(recipe, flag, quantizer):
    assert recipes.parse_arguments([recipe, "--quantizer", flag])[1].quantizer == quantizer


def test_every_setting_of_a_model_that_the_data_do_not_decide_is_a_flag():
    of_data = {"vocab_size", "max_position_embeddings", "tokenizer_size", "text_frame", "text_lengths"}
    of_data |= {f"{role}_token_id" for role in ("mask", "pad", "bos", "eos")} | {"format_version"}
    flags = {one.name for one in fields(recipes.ModelArguments)}
    assert flags == set(LaddConfig.__annotations__) - of_data | {"size"}


def test_a_flag_that_is_given_twice_unsets_both_its_fields(recipe):
    _, model, _, _ = recipes.parse_arguments([recipe, "--unset", "latent_dim", "--unset", "quantizer"])
    assert model.latent_dim is None and model.quantizer is None


@pytest.mark.parametrize("name", ["latent_dims", "config", "unset", "base"])
def test_what_is_no_field_can_not_be_unset(refusal, recipe, name):
    assert f"--unset names unknown fields ['{name}']" in refusal("train_ladd", "--config", recipe, "--unset", name)


# --- fine-tuning ---


@pytest.mark.parametrize("kept", ["adapter", "pipeline"])
def test_fine_tuning_does_not_write_over_an_earlier_result(refusal, tmp_path, kept):
    (tmp_path / "out" / kept).mkdir(parents=True)
    said = refusal("finetune_lora")
    assert f"already holds a fine-tuned {kept}: give another --output_dir, or --start_anew" in said
    assert "nowhere" in refusal("finetune_lora", "--start_anew"), "which goes on to look for the pipeline"
    assert (tmp_path / "out" / kept).exists(), "nothing moves before all else is known to work"


def test_lines_that_are_cut_are_counted(tmp_path, capsys):
    file = tmp_path / "texts.txt"
    file.write_text("abcdefgh\nabcdefghi\nabc\n")
    config = LaddConfig(vocab_size=11, mask_token_id=10, pad_token_id=0, max_position_embeddings=8)
    rows = finetune_lora.texts(str(file), tiny_tokenizer(), config)["input_ids"]
    assert [len(row) for row in rows] == [8, 8, 3]
    assert "1 of 3 texts have more than 8 tokens, and are cut there." in capsys.readouterr().out
    file.write_text("abcdefgh\n")
    finetune_lora.texts(str(file), tiny_tokenizer(), config)
    assert "cut" not in capsys.readouterr().out
