"""Recipes and flags that cannot work: the example says why in a sentence, and trains nothing."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.encoders import word_pieces
from helpers.examples import train_ladd as example

from ladd_hf.cli.recipe_files import read_recipe

SIZES = (
    "length: 16\nmax_steps: 2\nhidden_size: 16\nnum_hidden_layers: 1\nnum_attention_heads: 2\ncond_hidden_size: 8\n"
    "latent_type: continuous\nlatent_length: 4\nlatent_dim: 2\n"
)

CONFIGS = Path(__file__).resolve().parents[3] / "examples" / "configs"


@pytest.fixture
def refusal(tmp_path, monkeypatch, capsys):
    """`refusal(*arguments)`: what the example says when it stops, if it does so before anything is trained."""
    monkeypatch.setattr(example, "train", lambda *args, **options: pytest.fail("training began"))

    def refusal(*arguments):
        with pytest.raises(SystemExit) as stop:
            example.main([*map(str, arguments), "--use_cpu", "--output_dir", str(tmp_path / "out")])
        said = capsys.readouterr()
        return said.err if stop.value.code == 2 else str(stop.value)

    return refusal


@pytest.fixture
def recipe(tmp_path):
    """Tiny, on a text of 90 letters and spaces for each split."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for split in ("train", "validation"):
        (texts / f"{split}.txt").write_text("the cat sat on the mat and the dog ran away " * 2)
    path = tmp_path / "recipe.yaml"
    path.write_text(f"data: {texts}\n{SIZES}")
    return path


@pytest.mark.parametrize(
    ("flag", "value", "least"),
    [
        ("length", 0, 1),
        ("max_steps", 0, 1),
        ("max_steps", -1, 1),
        ("num_samples", 0, 1),
        ("sample_batch_size", 0, 1),
        ("judge_order", 0, 1),
        ("judge_characters", 0, 1),
        ("tokenizer_vocab_size", 0, 1),
        ("num_eval_sequences", -1, 0),
        ("cpu_threads", -2, 0),
        ("num_proc", 0, 1),
        ("min_tokens", 0, 1),
    ],
)
def test_a_number_that_is_too_small_is_refused(refusal, recipe, flag, value, least):
    said = f"`{flag}` is {value}; give a whole number of at least {least}."
    assert said in refusal(recipe, f"--{flag}", value)
    recipe.write_text(recipe.read_text().replace("length: 16\nmax_steps: 2\n", "") + f"{flag}: {value}\n")
    assert said in refusal(recipe, *([] if flag == "max_steps" else ["--max_steps", 2]))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("length: 8.5", "`length` is 8.5; give a whole number"),
        ("length:", "`length` is None; give a whole number"),
        ("num_samples: true", "`num_samples` is True; give a whole number"),
        ("budgets: 0", "`budgets` is [0]; give whole numbers of at least 1"),
        ("budgets: [2, a]", "`budgets` is [2, 'a']; give whole numbers"),
        ("budgets: []", "`budgets` is []; give whole numbers"),
        ("data:", "`data` is None; give a text"),
        ("tokenizer: 3", "`tokenizer` is 3; give a text"),
        ("packing: foo", "`packing` is 'foo'; give one of 'pack', 'wrap', 'pad'"),
        ("sample_by: word", "`sample_by` is 'word'; give one of 'document', 'paragraph', 'line'"),
        ("config: other.yaml", "unknown fields ['config']"),
        ("3: 4", "unknown fields ['3']"),
        ("learning_rate: [1]", "`learning_rate` is [1]; give a number."),
        ("learning_rate: true", "`learning_rate` is True; give a number."),
        ("learning_rate: .nan", "`learning_rate` is nan; give a number of 0 or more."),
        ("learning_rate:", "`learning_rate` is None; give a number."),
        ("learning_rate: abc", "invalid float value: 'abc'"),
        ("max_steps: [1]", "`max_steps` is [1]; give a whole number."),
        ("seed: 1.5", "`seed` is 1.5; give a whole number."),
        ("bf16: [true]", "`bf16` is [True]; give true or false."),
        ("streaming: 3", "`streaming` is 3; give true or false."),
        ("size: [B]", "`size` is ['B']; give a text"),
        ("separator: 3", "`separator` is 3; give a text"),
        ("report_to: 3", "`report_to` is 3; give a text"),
        ("lr_scheduler_type: [cosine]", "`lr_scheduler_type` is ['cosine']; give a text"),
        ("lr_scheduler_kwargs: [1]", "`lr_scheduler_kwargs` is [1]; give a mapping or a text"),
        ("log_level: loud", "`log_level` is 'loud'; give one of 'detail', 'debug'"),
        ("quantizer: {name: finite_scalar, levels: [a]}\nlatent_type: discrete", "`quantizer.levels` is"),
        ("held_out: .nan", "`held_out` is nan"),
        ("num_samples: 99999999999999999999", "`num_samples` is 99999999999999999999; give a whole number"),
        ("truncate: true", "`truncate` cuts padded texts off, and `packing` is 'pack'"),
        ("fill: eos", "`fill` is what padded texts are filled up with, and `packing` is 'pack'"),
        ("fill: bos", "`fill` is 'bos'; give one of 'padding', 'eos'"),
        ("min_tokens: 3", "`min_tokens` is 3, but each of the 4 latents reads at least one token"),
    ],
)
def test_a_line_of_a_recipe_that_can_not_work_is_refused(refusal, recipe, line, said):
    others = [given for given in recipe.read_text().splitlines() if given.split(":")[0] != line.split(":")[0]]
    recipe.write_text("\n".join([*others, line]))
    assert said in refusal(recipe)


def test_latents_of_the_whole_text_need_no_token_each(refusal, recipe):
    recipe.write_text(
        recipe.read_text() + "encoder: {name: trained, readout: chunk_mlp}\nglobal_latents: 2\nmin_tokens: 2\n"
    )
    assert example.parse_arguments([str(recipe)])[1].least_tokens == 2
    recipe.write_text(recipe.read_text().replace("min_tokens: 2", "min_tokens: 1"))
    assert "`min_tokens` is 1, but each of the 2 latents of chunks reads at least one token" in refusal(recipe)
    recipe.write_text(recipe.read_text().replace("latent_type: continuous", "latent_type: none"))
    assert example.parse_arguments([str(recipe)])[1].least_tokens == 1


def test_a_single_number_of_evaluations_is_a_list_of_one(recipe):
    recipe.write_text(recipe.read_text() + "budgets: 8\n")
    assert example.parse_arguments([str(recipe)])[0].budgets == [8]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"length: [1\n", "is not YAML"),
        (b"- a\n- b\n", "holds a list; a recipe holds fields"),
        (b"hello", "holds a str; a recipe holds fields"),
        (b"base: 3", "has the `base` 3; give the path"),
        (b"base:", "has the `base` None; give the path"),
        (b"base: {a: b}", "has the `base` {'a': 'b'}; give the path"),
        (b"base: [a.yaml, 3]", "has the `base` ['a.yaml', 3]; give the path"),
        (b"length: 8  # caf\xe9", "is not UTF-8: the byte 0xe9 at offset 16"),
    ],
)
@pytest.mark.parametrize("role", ["recipe", "base"])
def test_a_file_that_is_no_recipe_is_named(refusal, tmp_path, content, said, role):
    file = tmp_path / "wrong.yaml"
    file.write_bytes(content)
    child = tmp_path / "child.yaml"
    child.write_text("base: wrong.yaml")
    assert f"{file} {said}" in refusal(file if role == "recipe" else child)


def test_a_text_in_place_of_a_recipe_is_pointed_to_its_flag(refusal, tmp_path):
    (tmp_path / "my.txt").write_text("one: two: three")
    assert f"no recipe, which is a .yaml file: train on texts with --data {tmp_path}/my.txt" in refusal(
        tmp_path / "my.txt"
    )


@pytest.mark.parametrize("content", [(CONFIGS / "python-docs-di.yaml").read_text(), "base: python-docs-di"])
def test_an_included_recipe_may_be_copied_or_named_as_a_base(tmp_path, content):
    mine, theirs = tmp_path / "mine.yaml", CONFIGS / "python-docs-di.yaml"
    mine.write_text(content)
    assert read_recipe(mine) == read_recipe(theirs)


@pytest.mark.parametrize("through", ["its name", "a link", "another recipe"])
@pytest.mark.parametrize("name", ["secret", "secret.txt", "secret.yaml"])
def test_a_base_is_no_other_file_of_the_machine(refusal, tmp_path, name, through):
    secret, folder = tmp_path / name, tmp_path / "recipes"
    secret.write_text("password: 1234")
    (folder / "deep").mkdir(parents=True)
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"base: ../{name}")
    if through == "a link":
        (folder / "link.yaml").symlink_to(secret)
        recipe.write_text("base: link.yaml")
    if through == "another recipe":
        (folder / "deep" / "other.yaml").write_text(f"base: ../../{name}")
        recipe.write_text("base: deep/other.yaml")
    said = refusal(recipe)
    assert f"has the `base` {secret}; a base is a .yaml file below {folder}" in said and "password" not in said


def test_a_base_is_below_the_recipe_or_one_of_the_recipes_here(tmp_path):
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "near.yaml").write_text("base: ../far.yml\nlogging_steps: 3")
    (tmp_path / "far.yml").write_text("seed: 5")
    for here in (CONFIGS, CONFIGS / "bases" / ".."):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(f"base: [{here}/sawtooth-di.yaml, bases/near.yaml]")
        training = example.parse_arguments([str(recipe)])[-1]
        assert (training.logging_steps, training.seed) == (3, 5)


def test_recipes_are_utf_8_whatever_the_machines_own_encoding(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes("data: café\nmax_steps: 1\n".encode())
    assert example.parse_arguments([str(path)])[0].data == "café"


@pytest.mark.parametrize("missing", ["train", "validation"])
@pytest.mark.parametrize("streaming", [(), ("--streaming",)])
@pytest.mark.parametrize("flags", ["", "--normalize", "--tokenizer byte_level_bpe --tokenizer_vocab_size 300"])
def test_a_missing_text_is_refused_by_whatever_reads_it_first(refusal, recipe, tmp_path, flags, streaming, missing):
    folder = tmp_path / "rows"
    folder.mkdir()
    for split in ("train", "validation"):
        texts = ["the cat sat on the mat", None if split == missing else "a dog", "and ran away " * 5]
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    said = refusal(recipe, "--data", folder, *flags.split(), *streaming)
    assert "is missing (null), but a string is accepted: filter such rows out" in said


@pytest.mark.parametrize("flags", [(), ("--streaming",)])
def test_the_first_process_reads_texts_before_the_others_unless_they_are_streamed(recipe, tmp_path, monkeypatch, flags):
    events = []

    @contextmanager
    def main_process_first(self, **options):
        events.append("first")
        yield
        events.append("others")

    def noted(name, function):
        return lambda *args, **options: events.append(name) or function(*args, **options)

    monkeypatch.setattr(example.LaddTrainingArguments, "main_process_first", main_process_first)
    monkeypatch.setattr(example, "load_corpus", noted("texts", example.load_corpus))
    monkeypatch.setattr(example.TextTask, "train_dataset", noted("blocks", example.TextTask.train_dataset))
    monkeypatch.setattr(example.TextTask, "reference", lambda self, num_samples: events.append("judge"))
    monkeypatch.setattr(example, "train", lambda *args, **options: sys.exit("training"))
    with pytest.raises(SystemExit, match="training"):
        example.main([str(recipe), "--use_cpu", *flags, "--output_dir", str(tmp_path / "out")])
    read = ["texts", "blocks"]
    assert events == ([*read, "judge"] if flags else ["first", *read, "others", "judge"])


@pytest.mark.parametrize("process", [0, 1])
def test_only_the_process_that_judges_makes_the_judge(recipe, tmp_path, monkeypatch, process):
    made = []
    monkeypatch.setattr(example.TextTask, "reference", lambda self, num_samples: made.append(process))
    monkeypatch.setattr(example.LaddTrainingArguments, "process_index", process)
    monkeypatch.setattr(example, "train", lambda *args, **options: sys.exit("training"))
    with pytest.raises(SystemExit, match="training"):
        example.main([str(recipe), "--use_cpu", "--output_dir", str(tmp_path / "out")])
    assert made == [0] * (process == 0)


def test_a_judge_that_can_not_be_made_is_refused(refusal, recipe, tmp_path):
    """Greek texts in Latin word pieces are unknown tokens and nothing else."""
    word_pieces(["the cat sat on the mat"]).save_pretrained(tmp_path / "tokenizer")
    for split in ("train", "validation"):
        (tmp_path / "texts" / f"{split}.txt").write_text("η γατα καθεται στο χαλι " * 20)
    assert "corpus has no characters" in refusal(recipe, "--tokenizer", tmp_path / "tokenizer")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--packing wrap", "The tokenizer has no BOS token, which this mode writes"),
        ("--bos_token <s>", "`bos_token` is '<s>', which the tokenizer 'character' does not know"),
        ("--length 2000", "do not fill a single block of 2000 tokens"),
        ("--length 2000 --streaming", "do not fill a single block of 2000 tokens"),
        ("--packing pad --length 96 --min_tokens 90", "have fewer than 90 tokens"),
        ("--packing pad --length 96 --min_tokens 90 --streaming", "has 90 tokens or more"),
        ("--packing pad --min_tokens 17", "`min_tokens` is 17, but an integer from 1 to the `length` (16)"),
        ("--text_column body --data {folder}/rows.jsonl", "no column 'body'"),
    ],
)
def test_texts_that_can_not_become_sequences_are_refused(refusal, recipe, tmp_path, flags, said):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "a row"}))
    assert said in refusal(recipe, *flags.format(folder=tmp_path).split())
