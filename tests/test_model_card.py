"""Model cards say what was measured, in a form the Hub's parser reads, with an example that runs."""

from __future__ import annotations

import re

from huggingface_hub import ModelCard

from ladd_hf import LaddPipeline
from ladd_hf.model_card import model_card


def build() -> ModelCard:
    return model_card(
        "A tiny model",
        "Di-LADD",
        "nothing",
        {"seed": 3, "dtype": "float32"},
        "accelerate launch examples/train_ladd.py --seed 3",
        {"joint": {2: 0.75, 8: 0.5}, "sequential": {8: 0.25}},
        "Nats per token.",
        floor=0.125,
        num_steps=2,
    )


def test_a_card_holds_every_fact_and_figure(tmp_path):
    build().save(tmp_path / "README.md")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "diffusers"
    assert "ladd" in card.data.tags
    for text in ("| seed | 3 |", "| joint | 0.7500 | 0.5000 |", "| sequential |  | 0.2500 |", "0.1250", "--seed 3"):
        assert text in card.text


def test_the_example_of_a_card_runs(tmp_path, tiny_model, monkeypatch):
    pipeline = LaddPipeline(tiny_model("discrete"))
    pipeline.save_pretrained(tmp_path / "path" / "or" / "repository")
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", build().text, re.DOTALL)
    assert code is not None
    exec(code.group(1), {})
