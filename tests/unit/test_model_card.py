"""Model cards say what was trained and measured, in a form the Hub's parser reads, with an example that runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from helpers.encoders import save_encoder
from helpers.hub import errors_of_card
from helpers.model_cards import CONDITIONS, SAMPLES
from helpers.sampling import tiny_tokenizer
from huggingface_hub import ModelCard

from ladd_hf import LaddPipeline
from ladd_hf.training.model_card import Conditions, HeldOutBounds, Recipe, SampleScores, Temperatures, model_card
from ladd_hf.training.run_facts import running_command
from ladd_hf.utils.local_paths import public_name

CARDS = sorted((Path(__file__).resolve().parents[2] / "model_cards").glob("sawtooth-*.md"))
BOUNDS = HeldOutBounds({"joint": (0.5, 0.25)}, True, 70, CONDITIONS)
RECIPE = Recipe("Di-LADD", "letters", {"EMA decay": 0.9}, "accelerate launch examples/train_ladd.py --seed 3")


def build(**options) -> ModelCard:
    return model_card("A tiny model", RECIPE, SAMPLES, BOUNDS, "user/tiny", num_steps=2, **options)


def test_a_card_holds_every_fact_and_figure():
    text = build(tags=["letters"], metadata={"language": "en"}).content
    for fact in (
        "| joint | 0.7500 | 0.5000 |",
        "| sequential |  | 0.2500 |",
        "The data itself scores 0.1250",
        "1,234 samples for each figure, at temperature 0.5; letters of nothing; bfloat16, seed 3, an abacus.",
        "| joint | 0.5000 | 0.2500 | 0.7500 |",
        "After 70 steps",
        "| EMA decay | 0.9 |",
        "train_ladd.py --seed 3",
        "Di-LADD trained on letters",
        "pip install ladd_hf",
    ):
        assert fact in text, fact


def test_schedules_with_temperatures_of_their_own_are_named_with_them():
    own = {"joint": Temperatures(0.8), "sequential": Temperatures(0.6, 0.5)}
    scores = SampleScores(SAMPLES.scores, SAMPLES.metric, SAMPLES.measure, CONDITIONS, 9, own)
    card = model_card("A tiny model", RECIPE, scores)
    assert (
        "9 samples for each figure, at temperature 0.8 (joint); 0.6, 0.5 of latents (sequential); letters" in card.text
    )
    found = {one.metric_name.split(",")[0].split("(")[-1]: one.metric_args for one in card.data.eval_results}
    assert found["joint"]["temperature"] == 0.8 and "latent_temperature" not in found["joint"]
    assert (found["sequential"]["temperature"], found["sequential"]["latent_temperature"]) == (0.6, 0.5)


def test_its_metadata_are_the_figures_and_come_back_from_the_hubs_parser(tmp_path):
    build(tags=["letters"], metadata={"language": "en"}).save(tmp_path / "README.md")
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.library_name == "diffusers" and data.language == "en" and {"ladd", "letters"} <= set(data.tags)
    found = {(one.metric_type, one.metric_args.get("num_steps"), one.metric_value) for one in data.eval_results}
    scores = {("nats_per_token", n, v) for by_steps in SAMPLES.scores.values() for n, v in by_steps.items()}
    assert found == scores | {("bound_on_nats_per_token", None, 0.75)}
    for result in data.eval_results:
        assert result.metric_args["dtype"] == "bfloat16" and result.metric_args["hardware"] == "an abacus"
        assert result.metric_args["seed"] == 3 and result.dataset_name == "letters of nothing"
    sampled = [one for one in data.eval_results if one.metric_type == "nats_per_token"]
    assert all(one.metric_args["temperature"] == 0.5 for one in sampled)


HOSTILE = [
    'a"); import os; os.abort(); ("b',
    "a\n---\ntags: [x]\n---\n# b",
    "a | b | <script>c</script>",
    "```\n# a\n```",
    "a: {b: [c, !!python/object:os.system d]} #",
    "[a](javascript:b) ![c](d) *e* _f_ `g` {{ h }} {% i %}",
    "- a",
    "1. a",
    "\\",
]


def shown(text):
    """Returns escaped text as Markdown renders it."""
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_card_is_told_stays_text(text, tmp_path):
    told = Recipe(text, text, {text: text}, text)
    conditions = Conditions(text, text, 3, text)
    scores = SampleScores({text: {2: 0.5}}, "nats per token", text, conditions, 9)
    card = model_card(text, told, scores, HeldOutBounds({text: (1, 2)}, True, 3, conditions), text, tags=["own"])
    plain = model_card("a", Recipe("a", "a", {"a": "a"}, "a"), scores, BOUNDS, "a", tags=["own"])
    card.save(tmp_path / "README.md")
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.tags == plain.data.tags and not errors_of_card(card.content)
    assert data.eval_results[0].dataset_name == text
    lines = card.text.splitlines()
    headings = [line for line in lines if line.startswith("#")]
    line = " ".join(text.split())
    assert shown(headings[0]) == f"# {line}" and len([h for h in headings if h.startswith("## ")]) == 6
    (row,) = [one for one in lines if shown(one) == f"| {line} | {line} |"]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3 and "<" not in row.replace("\\<", "")
    (code,) = re.findall(r"```python\n(.*?)\n```$", card.text, re.DOTALL | re.MULTILINE)
    (call,) = [one.value.args[0].value for one in ast.walk(ast.parse(code)) if isinstance(one, ast.Assign)]
    assert call == text
    fence, command = re.search(
        r"^(`{3,})\n(.*?)\n\1$", card.text.split("## Training")[1], re.DOTALL | re.MULTILINE
    ).groups()
    assert command == text and fence not in text


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("user/model", "user/model"),
        ("gpt2", "gpt2"),
        ("https://a.b/c/d", "https://a.b/c/d"),
        ("/home/me/model", "model"),
        ("/home/me/model/", "model"),
        ("/home/me/run://model", "model"),
        ("https://host/me/model", "https://host/me/model"),
        ("./out/model", "model"),
        ("~/model", "model"),
        ("C:\\me\\model", "model"),
        ("out/a/model", "model"),
        ("there/model", "model"),
        ("", ""),
    ],
)
def test_of_a_path_the_name_is_public(name, public, tmp_path, monkeypatch):
    (tmp_path / "there" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public_name(name) == public


def test_without_figures_there_are_no_tables():
    card = model_card("A tiny model", RECIPE)
    assert card.data.eval_results is None and "evaluations" not in card.text and "Held-out" not in card.text


def test_what_is_no_bound_is_not_called_one():
    card = model_card("Vectors", RECIPE, bounds=HeldOutBounds({"joint": (0.5, 0.25)}, False, 70, CONDITIONS))
    assert "no bound" in card.text and not card.data.eval_results[0].metric_type.startswith("bound")


@pytest.mark.parametrize("text", [False, True])
def test_the_example_of_a_card_runs(text, tmp_path, tiny_model, monkeypatch, capsys):
    pipeline = LaddPipeline(tiny_model("discrete"), tokenizer=tiny_tokenizer() if text else None)
    pipeline.save_pretrained(tmp_path / "user" / "tiny")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", build(text=text).text, re.DOTALL)
    exec(code, {})
    printed = capsys.readouterr().out
    assert ("tensor" in printed) != text


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_the_cards_of_the_recipes_are_read_by_the_hub_and_name_what_repeats_them(path):
    content = path.read_text()
    card = ModelCard(content)
    assert not errors_of_card(content) and errors_of_card(content.replace("metrics:", "metric:"))
    assert len(card.data.eval_results) > 5
    assert "accelerate launch examples/train_ladd.py" in card.text
    for result in card.data.eval_results:
        assert f"{result.metric_value:.4f}" in card.text


@pytest.mark.parametrize(
    ("environment", "world_size", "expected"),
    [
        ({}, 1, "python train.py --seed '1 2'"),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, 1, "accelerate launch train.py --seed '1 2'"),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, 4, "accelerate launch --num_processes 4 train.py --seed '1 2'"),
        ({"TORCHELASTIC_RUN_ID": "x"}, 2, "torchrun --nproc_per_node 2 train.py --seed '1 2'"),
    ],
)
def test_the_command_is_the_one_that_was_given(environment, world_size, expected, monkeypatch):
    for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["train.py", "--seed", "1 2"])
    assert running_command(world_size) == expected


@pytest.mark.parametrize(
    ("environment", "world_size", "expected"),
    [
        ({}, 1, "ladd train --seed 1"),
        ({"LADD_LAUNCH": "/somewhere", "ACCELERATE_MIXED_PRECISION": "no"}, 4, "ladd train --seed 1"),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, 4, "accelerate launch --num_processes 4 -m ladd_command train --seed 1"),
    ],
)
def test_the_command_ladd_is_told_as_it_was_given(environment, world_size, expected, monkeypatch):
    for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID", "LADD_LAUNCH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["ladd", "train", "--seed", "1"])
    assert running_command(world_size) == expected


@pytest.mark.parametrize("launcher", ["ipykernel_launcher.py", "colab_kernel_launcher.py"])
def test_a_notebook_is_not_told_by_the_command_of_its_kernel(launcher, monkeypatch):
    monkeypatch.setattr("sys.argv", [f"/somewhere/{launcher}", "-f", "/home/me/kernel-1.json"])
    assert running_command() == "(from a notebook)"


@pytest.mark.parametrize("trained", [False, True])
def test_a_card_names_the_pretrained_encoder_and_how_its_states_become_latents(
    trained, make_trainer, tiny_model, tmp_path
):
    name = save_encoder(tmp_path / "encoder")
    options = {"encoder_pooling": "adaptive_chunk_mean_eos", "encoder_trained": trained}
    card = make_trainer(tiny_model("discrete", encoder_name_or_path=name, **options)).model_card()
    (row,) = re.findall(r"^\| encoder \| (.*) \|$", card.text, re.MULTILINE)
    assert (
        row.startswith("encoder, ")
        and str(tmp_path) not in card.content
        and "pooled by adaptive_chunk_mean_eos" in row
        and ("trained with the rest" in row) == trained
    )
    assert "| encoder |" not in make_trainer(tiny_model("discrete"), "other").model_card().text
