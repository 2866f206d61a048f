"""Each matched baseline costs what its recipe says, by counts that agree with closed forms."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml

from ladd_hf import LaddConfig, LaddTrainingArguments

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "examples" / "configs"


def load_script():
    spec = importlib.util.spec_from_file_location("matched_baselines", ROOT / "benchmarks" / "matched_baselines.py")
    module = sys.modules["matched_baselines"] = importlib.util.module_from_spec(spec)  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()
PAIRS = [
    (recipe, name, number)
    for recipe in SCRIPT.RECIPES
    for name, number in SCRIPT.baselines_of(recipe).items()
    if number != "steps"
]
SIZES = {"vocab_size": 11, "mask_token_id": 10, "pad_token_id": 9, "max_position_embeddings": 16}
SIZES |= {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "cond_hidden_size": 8}
LATENTS = {"latent_type": "continuous", "latent_length": 4, "latent_dim": 3}


NUMBERS = ("parameters", "block_weights", "flops")


def arguments(**options):
    return LaddTrainingArguments("unused", use_cpu=True, per_device_train_batch_size=2, max_steps=10, **options)


def in_layers(config, training, layers, examples=2):
    """The cost with another number of layers."""
    return SCRIPT.cost_of(type(config).from_dict({**config.to_dict(), "num_hidden_layers": layers}), training, examples)


def extrapolated(config, training):
    """The cost, from those of one layer and of two: all its numbers are linear in layers."""
    one, two = (in_layers(config, training, layers) for layers in (1, 2))
    deeper = config.num_hidden_layers - 1
    numbers = {n: getattr(one, n) + deeper * (getattr(two, n) - getattr(one, n)) for n in NUMBERS}
    return replace(one, **numbers)


@cache
def cost(recipe):
    task, model, training = SCRIPT.parsed(recipe)
    return extrapolated(model.config(task, latents=True), training)


@pytest.mark.parametrize(("recipe", "name", "number"), PAIRS, ids=[name for _, name, _ in PAIRS])
def test_a_matched_recipe_is_within_two_per_cent_and_says_how_close(recipe, name, number):
    ratio = getattr(cost(name), number) / getattr(cost(recipe), number)
    assert abs(ratio - 1) < 0.02
    (said,) = re.findall(rf"{recipe}\.yaml.*: ([\d.]+) of them\.$", (CONFIGS / f"{name}.yaml").read_text(), re.M)
    assert abs(float(said) - ratio) < 0.003


@pytest.mark.parametrize("name", [name for _, name, _ in PAIRS])
def test_a_matched_recipe_changes_width_and_steps_alone_and_samples_as_mdlm_does_best(name):
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    plain, at_its_best = settings.pop("base")
    assert plain.endswith("-mdlm.yaml") and at_its_best == "bases/mdlm-at-its-best.yaml"
    assert set(settings) <= {"hidden_size", "num_attention_heads", "max_steps"}
    if "longer" in name:
        assert set(settings) == {"max_steps"}


@pytest.mark.parametrize("kind", [{}, LATENTS], ids=["mdlm", "co"])
def test_costs_are_linear_in_layers(kind):
    config, stages = LaddConfig(**SIZES, **kind), [{"name": "encoder", "steps": 4}, "prior"] if kind else None
    whole, by_two = SCRIPT.cost_of(config, arguments(stages=stages), 2), extrapolated(config, arguments(stages=stages))
    assert all(getattr(by_two, number) == pytest.approx(getattr(whole, number), rel=1e-12) for number in NUMBERS)


@pytest.mark.parametrize("length", [16, 12])
def test_the_operations_of_mdlm_are_those_of_the_closed_form(length):
    config = LaddConfig(**SIZES | {"max_position_embeddings": length})
    weighed = {"fully_masked_share": 1.0}  # every token is masked, so every token has logits
    found = SCRIPT.cost_of(config, arguments(**weighed), examples=3)
    hidden, layers, vocabulary = 32, 3, 11
    products = 2 * length * (12 * hidden**2 * layers + hidden * vocabulary)
    attention = 2 * 2 * length**2 * hidden * layers
    # backward: twice the products; of attention five products for two, one of which is computed again
    per_example = 3 * products + 3.5 * attention
    assert found.stages == {"joint": {"steps": 10, "flops_per_example": per_example}}
    assert found.flops == per_example * 10 * 2


def test_a_stage_costs_its_steps_and_an_encoder_that_is_fixed_no_backward_pass():
    stages = [{"name": "mdlm", "steps": 2}, {"name": "encoder", "steps": 3}, "prior"]
    found = SCRIPT.cost_of(LaddConfig(**SIZES, **LATENTS), arguments(stages=stages), examples=4)
    assert {name: stage["steps"] for name, stage in found.stages.items()} == {"mdlm": 2, "encoder": 3, "prior": 5}
    per_example = {name: stage["flops_per_example"] for name, stage in found.stages.items()}
    assert found.flops == 2 * sum(per_example[name] * stage["steps"] for name, stage in found.stages.items())
    assert per_example["mdlm"] < per_example["prior"] < per_example["encoder"]
    # the encoder is a stream of the same layers: two thirds of its products are saved, but for those of its readout
    stream = 3 * 2 * 16 * 12 * 32**2 * 3
    saved = per_example["encoder"] - per_example["prior"]
    assert 0.6 < saved / (2 / 3 * stream) < 1.4


def test_accumulated_batches_count():
    config = LaddConfig(**SIZES)
    once, twice = (SCRIPT.cost_of(config, arguments(gradient_accumulation_steps=n), examples=2) for n in (1, 2))
    assert twice.flops == 2 * once.flops


def test_weights_of_blocks_are_those_of_both_streams():
    alone, both = (SCRIPT.cost_of(LaddConfig(**SIZES, **kind), arguments(), examples=1) for kind in ({}, LATENTS))
    conditioning = 2 * 3 * 6 * 32 * 8  # two streams, three layers: six modulations of 32 from a time of size 8
    assert both.block_weights == 2 * alone.block_weights + conditioning


def test_k_means_which_begins_a_codebook_is_not_counted():
    discrete = {"latent_type": "discrete", "latent_length": 4, "latent_dim": 3, "codebook_size": 8}
    quantizer = {"name": "vector", "kmeans_init": True}
    stages = [{"name": "encoder", "steps": 5}, "prior"]
    options = {**SIZES, **discrete, "quantizer": quantizer}
    with_k_means = SCRIPT.cost_of(LaddConfig(**options), arguments(stages=stages), examples=4)
    options["quantizer"] = {"name": "vector", "kmeans_init": False}
    assert with_k_means.flops == SCRIPT.cost_of(LaddConfig(**options), arguments(stages=stages), examples=4).flops


@pytest.mark.parametrize("number", ["flops", "parameters", "block_weights"])
def test_the_closest_size_is_found(number):
    def at(size):
        return SCRIPT.Cost(size, 1, size**2, size**2, float(size**2), {})

    assert SCRIPT._closest(at, 8, 8, number, 31**2).hidden_size == 32
    assert SCRIPT._closest(at, 8, 8, number, 25**2).hidden_size == 24


def test_tables_and_json_hold_every_baseline(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(SCRIPT, "of_recipe", lambda recipe, examples: cost(recipe))
    monkeypatch.setattr("sys.argv", ["matched_baselines.py", "python-docs-di", "--json", str(tmp_path / "x.json")])
    SCRIPT.main()
    rows = json.loads((tmp_path / "x.json").read_text())["python-docs-di"]
    assert list(rows) == ["python-docs-di", *SCRIPT.baselines_of("python-docs-di")]
    assert rows["python-docs-mdlm"]["matched"] == "steps" and rows["python-docs-mdlm"]["ratios"]["flops"] < 0.8
    printed = capsys.readouterr().out.splitlines()
    assert [line.split("`")[1] for line in printed if line.startswith("| `")] == list(rows)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [("owt-mdlm", "owt-mdlm has the tokenizer 'Qwen/Qwen3-Embedding-0.6B', whose vocabulary needs its texts or")],
)
def test_a_recipe_that_needs_a_download_is_refused(recipe, message):
    with pytest.raises(SystemExit, match=re.escape(message)):
        SCRIPT.of_recipe(recipe)


def test_a_recipe_without_baselines_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["matched_baselines.py", "sawtooth-di"])
    with pytest.raises(SystemExit):
        SCRIPT.main()
    assert "There are no matched baselines of ['sawtooth-di']; give some of" in capsys.readouterr().err
