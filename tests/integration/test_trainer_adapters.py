"""The trainer with adapters, by `get_peft_model` and by `add_adapter`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.adapters import WAYS, adapted, answers, assert_close, differs, lora
from helpers.training import assert_same, averaged_weights, logged, state_of, texts, two_stages
from peft import PeftModel
from safetensors.torch import load_file

from ladd_hf import LaddPipeline
from ladd_hf.models.adapters import base_model, has_adapters

CHECKPOINTS = {"save_strategy": "steps", "save_steps": 3}
TWO_STAGES = {"stages": two_stages(3, fully_masked_share=0.5)}


@pytest.fixture
def build(stirred_model):
    """`build(kind, way)`: a model with a fresh adapter, which changes nothing yet."""
    return lambda kind, way: adapted(stirred_model(kind), way, lora(init_lora_weights=True))


@pytest.fixture
def trained(build, make_trainer):
    """`trained(way, kind="discrete", **arguments)`: a trainer after its six steps."""

    def train(way, kind="discrete", **options):
        trainer = make_trainer(build(kind, way), **options)
        trainer.train()
        return trainer

    return train


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "stages"), [("none", {}), ("separate", {}), ("discrete", TWO_STAGES), ("vector", {})])
def test_training_changes_the_adapter_alone(kind, stages, way, build, make_trainer):
    trainer = make_trainer(build(kind, way), **stages)
    before = {name: value.clone() for name, value in base_model(trainer.model).state_dict().items()}
    trainer.train()
    after = base_model(trainer.model).state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all("lora_" in name for name in changed)
    assert len(logged(trainer)) == 6


@pytest.mark.parametrize("way", WAYS)
def test_the_average_is_of_the_adapter_alone(way, trained):
    trainer = trained(way)
    trainable = [p for p in trainer.model.parameters() if p.requires_grad]
    assert [x.shape for x in trainer.ema.average.shadow_params] == [p.shape for p in trainable]
    assert any(not torch.equal(x, p) for x, p in zip(trainer.ema.average.shadow_params, trainable, strict=True))


@pytest.mark.parametrize("way", WAYS)
def test_evaluation_is_of_the_averaged_adapter(way, trained):
    trainer = trained(way)
    data = texts(8, seed=1)
    found = trainer.evaluate(data)["eval_loss"]
    trainer.ema.average.copy_to(trainer.ema._parameters().values())
    trainer.ema = None
    assert trainer.evaluate(data)["eval_loss"] == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stages", [{}, TWO_STAGES], ids=["one stage", "two stages"])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(stages, way, build, make_trainer, trained):
    through = trained(way, "vector", **CHECKPOINTS, **stages)
    resumed = make_trainer(build("vector", way), **CHECKPOINTS, **stages)
    resumed.train(resume_from_checkpoint=f"{through.args.output_dir}/checkpoint-3")
    assert_same(state_of(resumed), state_of(through))


def test_a_checkpoint_of_an_adapter_of_another_size_is_refused(make_trainer, trained, stirred_model):
    first = trained("add_adapter", "none", **CHECKPOINTS)
    other = make_trainer(adapted(stirred_model("none"), "add_adapter", lora(r=3)), "other")
    with pytest.raises(ValueError, match=r"do not fit this run .*size mismatch"):
        other.train(resume_from_checkpoint=f"{first.args.output_dir}/checkpoint-3")


def test_a_checkpoint_of_fewer_adapted_layers_is_refused(make_trainer, build, stirred_model):
    few = make_trainer(adapted(stirred_model("none"), "add_adapter", lora(["qkv_proj"])), "few", **CHECKPOINTS)
    few.train()
    with pytest.raises(ValueError, match=r"is of another adapter than 'default', it lacks "):
        make_trainer(build("none", "add_adapter")).train(f"{few.args.output_dir}/checkpoint-3")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("harm", ["cut", "missing"])
def test_a_damaged_adapter_in_a_checkpoint_is_named(way, harm, make_trainer, build, trained):
    path = Path(trained(way, "none", **CHECKPOINTS).args.output_dir, "checkpoint-3", "adapter_model.safetensors")
    path.write_bytes(path.read_bytes()[:100]) if harm == "cut" else path.unlink()
    with pytest.raises(ValueError, match=r"checkpoint-3 cannot be resumed.* adapter_model.safetensors"):
        make_trainer(build("none", way), "resumed").train(resume_from_checkpoint=str(path.parent))


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_has_no_weight_of_the_base(way, trained):
    trainer = trained(way, **CHECKPOINTS)
    for name in ("adapter_model.safetensors", "ema.safetensors"):
        saved = load_file(f"{trainer.args.output_dir}/checkpoint-6/{name}")
        assert saved and all("lora_" in key for key in saved)


@pytest.mark.parametrize("way", WAYS)
def test_the_averaged_adapter_is_what_is_saved(way, trained, stirred_model, tmp_path):
    trainer = trained(way)
    expected = averaged_weights(trainer)
    trainer.save_model(str(tmp_path / "adapter"))
    reloaded = PeftModel.from_pretrained(stirred_model("discrete"), tmp_path / "adapter")
    found = base_model(reloaded).state_dict()
    for name, weight in expected.items():
        assert torch.equal(found[name.removeprefix("base_model.model.")], weight), name
    assert differs(answers(reloaded.eval()), answers(stirred_model("discrete")))


@pytest.mark.parametrize("way", WAYS)
def test_a_saved_pipeline_is_whole_with_the_averaged_adapter_merged_in(way, trained, tmp_path):
    trainer = trained(way)
    trainer.save_pipeline(str(tmp_path / "pipeline"))
    with trainer.ema.applied():
        expected = answers(base_model(trainer.model).eval())
    model = LaddPipeline.from_pretrained(tmp_path / "pipeline").model
    assert not has_adapters(model) and has_adapters(trainer.model)
    assert_close(answers(model), expected, atol=1e-5)
    assert (tmp_path / "pipeline" / "README.md").is_file()


@pytest.mark.parametrize("way", WAYS)
def test_the_best_checkpoint_is_loaded_where_training_ends(way, build, make_trainer):
    best = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 3, "greater_is_better": True}
    trainer = make_trainer(build("none", way), eval_data=texts(8, seed=1), **CHECKPOINTS, **best)
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-3")  # the one with the greater loss
    saved = load_file(f"{trainer.state.best_model_checkpoint}/adapter_model.safetensors")
    weights = {name.replace(".default", ""): w for name, w in base_model(trainer.model).state_dict().items()}
    assert all(torch.equal(weights[name.removeprefix("base_model.model.")], value) for name, value in saved.items())


def test_an_output_folder_with_an_adapter_in_it_is_not_trained_into(build, make_trainer, trained):
    trainer = trained("add_adapter", "none")
    trainer.save_model()
    with pytest.raises(ValueError, match=r"already holds a model \(adapter_model.safetensors"):
        make_trainer(build("none", "add_adapter")).train()


def test_adapters_of_which_nothing_would_be_trained_are_refused(build, make_trainer, stirred_model, tmp_path):
    build("none", "add_adapter").save_pretrained(tmp_path / "adapter")
    model = stirred_model("none")
    model.load_adapter(str(tmp_path / "adapter"))
    with pytest.raises(ValueError, match="is_trainable=True"):
        make_trainer(model)


def test_two_active_adapters_are_refused(build, make_trainer):
    model = build("none", "add_adapter")
    model.add_adapter(lora(), "second")
    model.set_adapter(["default", "second"])
    with pytest.raises(ValueError, match=r"\['default', 'second'\] are active at once"):
        make_trainer(model)


def test_a_checkpoint_of_a_whole_model_is_not_resumed_as_an_adapter(build, make_trainer, stirred_model):
    trainer = make_trainer(stirred_model("none"), **CHECKPOINTS)
    trainer.train()
    with pytest.raises(ValueError, match=r"has no adapter_model.safetensors"):
        make_trainer(build("none", "add_adapter")).train(f"{trainer.args.output_dir}/checkpoint-3")


def test_a_checkpoint_of_another_adapter_is_not_resumed(build, make_trainer, trained, stirred_model):
    folder = trained("add_adapter", "none", **CHECKPOINTS).args.output_dir
    other = adapted(stirred_model("none"), "add_adapter", lora(["qkv_proj"]))
    with pytest.raises(ValueError, match=r"is of another adapter than 'default', it has .* besides"):
        make_trainer(other).train(f"{folder}/checkpoint-3")
