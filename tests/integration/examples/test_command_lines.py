"""Every script says what is wrong in one line, by its own name, and ends with exit code 2 before anything is loaded."""

from __future__ import annotations

import sys
from dataclasses import fields
from types import SimpleNamespace

import pytest
from helpers.examples import (
    convert_checkpoint,
    evaluate_ladd,
    finetune_lora,
    generate,
    lines_of,
    make_gallery,
    recipes,
    train_ladd,
)
from helpers.sampling import tiny_tokenizer

from ladd_hf import LaddConfig, LaddJointScheduler, LaddPipeline, LaddScheduler, LaddTrainingArguments
from ladd_hf.data import load_corpus

SCRIPTS = {
    "train_ladd": (train_ladd, ["--use_cpu", "--output_dir", "{out}"]),
    "evaluate_ladd": (evaluate_ladd, ["--model", "./nowhere", "--data", "./nowhere"]),
    "generate": (generate, ["--pipeline", "./nowhere", "--cpu"]),
    "finetune_lora": (finetune_lora, ["--pipeline", "./nowhere", "--use_cpu", "--output_dir", "{out}"]),
    "convert_checkpoint": (convert_checkpoint, ["nowhere.ckpt", "{out}"]),
    "make_gallery": (make_gallery, ["--runs", "./nowhere", "--data", "sawtooth"]),
}
NUMBER = {
    "train_ladd": "max_steps",
    "evaluate_ladd": "num_sequences",
    "generate": "num_samples",
    "finetune_lora": "learning_rate",
    "convert_checkpoint": "latent_length",
    "make_gallery": "num_steps",
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


@pytest.mark.parametrize("name", ["evaluate_ladd", "generate", "finetune_lora", "convert_checkpoint", "make_gallery"])
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
        ("--per_device_train_batch_size 0", "`per_device_train_batch_size` is 0; give a whole number of at least 1."),
        ("--per_device_eval_batch_size -1", "`per_device_eval_batch_size` is -1; give a whole number of at least 1."),
        ("--learning_rate nan", "`learning_rate` is nan; give a number of 0 or more."),
        ("--adam_beta2 1", "`adam_beta2` is 1.0; give a share from 0 to below 1."),
        ("--logging_steps inf", "`logging_steps` is inf; give a number of 0 or more."),
        ("--dataloader_num_workers -1", "`dataloader_num_workers` is -1; give a whole number of at least 0."),
        ("--seed -1", "`seed` is -1; give a whole number from 0 to 2**32 - 1."),
        ("--seed 4294967296", "`seed` is 4294967296; give a whole number from 0"),
        ("--output_dir=", "--output_dir is empty; name a folder."),
        ("--accelerator_config nowhere.json", "nowhere.json"),
    ],
)
def test_settings_of_the_training_that_can_not_work_are_refused_in_a_line(refusal, name, flags, said):
    assert said in refusal(name, *flags.split())


@pytest.mark.parametrize("inside", ["", "/deep/run"])
@pytest.mark.parametrize("name", ["train_ladd", "finetune_lora", "convert_checkpoint"])
def test_a_file_in_the_place_of_the_folder_to_save_in_is_refused(refusal, monkeypatch, tmp_path, name, inside):
    (tmp_path / "out").write_text("mine")
    script, needed = SCRIPTS[name]
    monkeypatch.setitem(SCRIPTS, name, (script, [one.replace("{out}", "{out}" + inside) for one in needed]))
    assert "is a file, not a folder to save in: name another folder." in refusal(name)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(("name", "flag"), [("generate", "--output"), ("evaluate_ladd", "--json")])
def test_a_folder_in_the_place_of_the_file_to_write_is_refused_before_anything_is_loaded(refusal, tmp_path, name, flag):
    assert f"{flag} {tmp_path} is a folder, not a file to write" in refusal(name, flag, str(tmp_path))
    assert f"{flag} is empty; name a file." in refusal(name, flag, "")
    assert not list(tmp_path.iterdir()) and not list(tmp_path.parent.glob(f".{tmp_path.name}*"))


@pytest.mark.parametrize(
    ("name", "flag", "value", "said"),
    [
        ("generate", "seed", "99999999999999999999999", "give a whole number that 64 bits hold"),
        ("generate", "num_samples", "99999999999999999999999", "give a whole number"),
        ("generate", "length", "0", "give a whole number of at least 1"),
        ("evaluate_ladd", "seed", "-1", "give a whole number from 0 to 2**32 - 1"),
        ("evaluate_ladd", "batch_size", "99999999999999999999999", "give a whole number of at least 1"),
        ("finetune_lora", "alpha", "nan", "give a number above 0"),
        ("finetune_lora", "alpha", "inf", "give a number above 0"),
        ("finetune_lora", "alpha", "0", "give a number above 0"),
        ("finetune_lora", "adapter_dropout", "-1", "give a share from 0 to below 1"),
        ("finetune_lora", "adapter_dropout", "nan", "give a share from 0 to below 1"),
        ("finetune_lora", "rank", "99999999999999999999999", "give a whole number of at least 1"),
    ],
)
def test_a_number_outside_of_its_range_is_refused_before_anything_is_loaded(refusal, name, flag, value, said):
    printed = refusal(name, f"--{flag}", value)
    assert f"--{flag} is {value}" in printed.replace(".0;", ";") and said in printed


# --- files of lines ---


@pytest.mark.parametrize(
    ("name", "flag"), [("generate", "--prompts"), ("finetune_lora", "--train_file")], ids=["prompts", "texts"]
)
def test_a_file_of_lines_that_is_not_utf_8_is_named(refusal, monkeypatch, tmp_path, name, flag):
    file = tmp_path / "lines.txt"
    file.write_bytes(b"plain\ncaf\xe9\n")
    config = LaddConfig(vocab_size=11, mask_token_id=10, pad_token_id=0, max_position_embeddings=8)
    model = SimpleNamespace(config=config)
    loaded = SimpleNamespace(model=model, tokenizer=tiny_tokenizer())
    monkeypatch.setattr(SCRIPTS[name][0].LaddPipeline, "from_pretrained", lambda *args, **options: loaded)
    monkeypatch.setattr(finetune_lora, "model_source", lambda model: model)
    assert f"{file} is not UTF-8: the byte 0xe9 at offset 9 does not fit" in refusal(name, flag, str(file))
    file.write_text("\n\n")
    assert f"{flag} {file} holds no" in refusal(name, flag, str(file))


def test_lines_are_those_of_a_corpus_read_by_lines(tmp_path):
    file = tmp_path / "train.txt"
    file.write_bytes("\ufeffone\x0ctwo\u2028three\x85four\r\n\n five\x1c\rsix".encode())
    corpus = load_corpus(str(file), "train", sample_by="line", held_out=0, cache_dir=str(tmp_path / "cache"))
    expected = [row["text"].removesuffix("\n") for row in corpus]
    assert lines_of(file) == [line for line in expected if line]
    assert lines_of(file) == ["one\x0ctwo\u2028three\x85four", " five\x1c", "six"]


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


def test_fine_tuning_does_not_write_over_results_of_another_run(refusal, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text("{}")
    assert "already holds the results of a run: give another --output_dir, or --start_anew" in refusal("finetune_lora")


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


def test_a_flag_makes_tokens_wait_under_the_saved_and_under_another_schedule(stirred_model, tmp_path):
    LaddPipeline(stirred_model("discrete"), LaddJointScheduler(timestep_spacing="cosine")).save_pretrained(tmp_path)
    for flags, kind in (([], LaddJointScheduler), (["--schedule", "[[1, 1], [0.2, 0], [0, 0]]"], LaddScheduler)):
        flags = ["--pipeline", str(tmp_path), "--token_waiting", "until_known", "--output", str(tmp_path / "o"), *flags]
        scheduler = generate.load(generate.parse_arguments(flags), "cpu").scheduler
        assert type(scheduler) is kind and scheduler.config.timestep_spacing == "cosine"
        assert scheduler.config.token_waiting == "until_known"


def test_schedules_of_an_evaluation_may_have_options():
    flags = ["./model", "--data", "sawtooth", "--schedules", "saved", "{path: joint, token_waiting: until_known}"]
    settings = evaluate_ladd.settings_of(evaluate_ladd.parse_arguments(flags))
    assert settings.schedules == ("saved", {"path": "joint", "token_waiting": "until_known"})
