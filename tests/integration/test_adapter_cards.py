"""An adapter's folder has a card that says what it is, and whose example runs."""

from __future__ import annotations

import re

import pytest
from helpers.adapters import WAYS, adapted, lora
from helpers.sampling import tiny_tokenizer
from huggingface_hub import ModelCard, ModelCardData

from ladd_hf import LaddPipeline, LaddSequentialScheduler
from ladd_hf.utils.local_paths import public_model_name


@pytest.fixture
def pipe(stirred_model, tmp_path, monkeypatch):
    """A pipeline that was saved in the folder `base` of the working directory, and loaded from there."""
    monkeypatch.chdir(tmp_path)
    LaddPipeline(stirred_model("discrete"), LaddSequentialScheduler(), tiny_tokenizer()).save_pretrained("base")
    return LaddPipeline.from_pretrained("base")


def card_of(folder):
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "peft" and card.data.base_model == "base" and "ladd" in card.data.tags
    assert "[More Information Needed]" not in card.content
    return card


def run_example(card, folder):
    """Runs the card's example; returns what it defines."""
    (block,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    assert f'load_lora_weights("{folder.name}")' in block
    defined = {}
    exec(block, defined)
    return defined


def test_an_adapter_that_is_saved_says_how_to_load_it(pipe, tmp_path):
    pipe.model.add_adapter(lora(), "mine")
    for save in (pipe.model.save_pretrained, pipe.save_adapter):
        folder = tmp_path / save.__name__
        save(folder)
        card = card_of(folder)
        assert "LORA" in card.text and str(tmp_path) not in card.content
        assert run_example(card, folder)["pipe"].get_active_adapters() == ["default_0"]


def test_a_card_of_ones_own_stays_and_an_empty_template_does_not(pipe, tmp_path):
    pipe.model.add_adapter(lora())
    file = tmp_path / "adapter" / "README.md"
    file.parent.mkdir()
    template = ModelCard.from_template(ModelCardData(), model_summary="This is the model card of a model.")
    own = template.content.replace("[More Information Needed]", "A word of mine.", 1)
    for content, stays in (("My adapter.", True), (own, True), (template.content, False)):
        file.write_text(content, encoding="utf-8")
        pipe.model.save_pretrained(file.parent)
        assert (file.read_text(encoding="utf-8") == content) is stays
    card_of(file.parent)


@pytest.mark.parametrize("way", WAYS)
def test_a_trained_adapter_is_saved_with_the_card_of_its_run(way, pipe, make_trainer, tmp_path):
    trainer = make_trainer(adapted(pipe.model, way), save_strategy="steps", save_steps=3)
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    card = card_of(tmp_path / "adapter")
    assert "## Training" in card.text and "| steps | 6 |" in card.text
    assert run_example(card, tmp_path / "adapter")["pipe"].get_active_adapters() == ["default_0"]


def test_a_model_without_adapters_is_saved_without_a_card(make_trainer, tmp_path):
    make_trainer("none").save_model(str(tmp_path / "model"))
    assert not (tmp_path / "model" / "README.md").exists()


def test_the_base_is_named_as_it_can_be_loaded(tmp_path):
    snapshot = tmp_path / "models--user--pipeline" / "snapshots" / "0123"
    for folder in (snapshot, tmp_path / "mine"):
        (folder / "model").mkdir(parents=True)
        (folder / "model_index.json").write_text("{}")
    assert public_model_name(str(snapshot / "model")) == public_model_name(str(snapshot)) == "user/pipeline"
    assert public_model_name(str(tmp_path / "mine" / "model")) == "mine"
    assert public_model_name("user/pipeline") == "user/pipeline"
