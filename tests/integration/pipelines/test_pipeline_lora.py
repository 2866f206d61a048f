"""Adapters by the methods that diffusers' pipelines have for them."""

from __future__ import annotations

import pytest
import torch
from helpers.adapters import answers, assert_close, differs, lora
from peft import (
    AdaLoraConfig,
    BOFTConfig,
    IA3Config,
    LoHaConfig,
    LoraConfig,
    OFTConfig,
    get_peft_model,
    get_peft_model_state_dict,
)

from ladd_hf import LaddForDiffusionLM, LaddPipeline, LaddSequentialScheduler
from ladd_hf.models.adapters import adapter_layers, adapter_parameters, has_adapters, merged


@pytest.fixture
def folders(stirred_model, tmp_path):
    """Two adapters' folders, and what the model says with each and with none."""
    found = {"none": answers(stirred_model("discrete"))}
    for number, (name, targets) in enumerate({"first": "all-linear", "second": ["qkv_proj", "o_proj"]}.items()):
        model = stirred_model("discrete")
        torch.manual_seed(number)
        model.add_adapter(lora(targets))
        model.save_pretrained(tmp_path / name)
        found[name] = answers(model)
    return tmp_path, found


@pytest.fixture
def pipe(stirred_model):
    pipe = LaddPipeline(stirred_model("discrete"), LaddSequentialScheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def both(pipe, folders):
    """The pipeline with both adapters, the second active; and what it says with each."""
    for name in ("first", "second"):
        pipe.load_lora_weights(folders[0] / name, adapter_name=name)
    return pipe, folders[1]


def written(pipe):
    return pipe(num_steps=4, batch_size=8, generator=torch.Generator().manual_seed(0)).sequences


def test_an_adapter_that_is_loaded_counts_alone(pipe, folders):
    folder, expected = folders
    assert pipe.get_active_adapters() == [] and pipe.get_list_adapters() == {}
    for number, name in enumerate(("first", "second")):
        pipe.load_lora_weights(folder / name)
        assert pipe.get_active_adapters() == [f"default_{number}"]
        assert_close(answers(pipe.model), expected[name])
    assert pipe.get_list_adapters() == {"model": ["default_0", "default_1"]}


def test_an_adapter_that_is_loaded_counts_even_where_others_were_disabled(pipe, folders):
    folder, expected = folders
    pipe.load_lora_weights(folder / "second")
    pipe.disable_lora()
    pipe.load_lora_weights(folder / "first")
    assert_close(answers(pipe.model), expected["first"])


def test_names_not_given_are_ones_that_are_free(both, folders):
    pipe, _ = both
    pipe.load_lora_weights(folders[0] / "first")
    pipe.load_lora_weights(folders[0] / "first")
    pipe.delete_adapters("default_0")
    pipe.load_lora_weights(folders[0] / "first")
    assert set(pipe.get_list_adapters()["model"]) == {"first", "second", "default_0", "default_1"}


def test_adapters_are_switched_disabled_and_enabled(both):
    pipe, expected = both
    texts = {}
    for name in ("first", "second"):
        pipe.set_adapters(name)
        assert pipe.get_active_adapters() == [name]
        assert_close(answers(pipe.model), expected[name])
        texts[name] = written(pipe)
    assert not torch.equal(texts["first"], texts["second"])
    pipe.disable_lora()
    assert_close(answers(pipe.model), expected["none"])
    pipe.enable_lora()
    assert torch.equal(written(pipe), texts["second"])


def difference(pipe, name="model.blocks.0.streams.token.qkv_proj.weight"):
    """Returns the difference that the active adapters make to a layer's weights."""
    plain = merged(pipe.model).state_dict()[name]
    own = pipe.model.state_dict()[name.replace(".weight", ".base_layer.weight")]
    return plain - own


def test_adapters_add_up_by_their_weights(both):
    pipe, expected = both
    single = {}
    for name in ("first", "second"):
        pipe.set_adapters(name)
        single[name] = difference(pipe)
    pipe.set_adapters(["first", "second"], adapter_weights=[0.25, -2])
    torch.testing.assert_close(difference(pipe), 0.25 * single["first"] - 2 * single["second"], atol=1e-6, rtol=1e-4)
    pipe.set_adapters(["first", "second"], 0.5)
    torch.testing.assert_close(difference(pipe), 0.5 * (single["first"] + single["second"]), atol=1e-6, rtol=1e-4)
    pipe.set_adapters("first")
    assert_close(answers(pipe.model), expected["first"])


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_fused_adapter_says_the_same_in_a_plain_model(scale, both, tmp_path):
    pipe, _ = both
    pipe.set_adapters("first", scale)
    expected = answers(pipe.model)
    pipe.set_adapters("first")
    pipe.fuse_lora(lora_scale=scale)
    pipe.save_pretrained(tmp_path / "fused")
    pipe.unload_lora_weights()  # as diffusers' users do after it: the weights stay
    assert not has_adapters(pipe.model) and pipe.get_list_adapters() == {} and pipe.num_fused_loras == 0
    assert_close(answers(pipe.model), expected, atol=1e-5)
    assert_close(answers(LaddPipeline.from_pretrained(tmp_path / "fused").model), expected, atol=1e-5)
    pipe.save_pretrained(tmp_path / "whole")
    assert_close(answers(LaddPipeline.from_pretrained(tmp_path / "whole").model), expected, atol=1e-5)


def test_without_its_adapters_a_pipeline_is_what_it_was(both, tmp_path):
    pipe, expected = both
    pipe.unload_lora_weights()
    assert not has_adapters(pipe.model) and pipe.get_active_adapters() == []
    assert_close(answers(pipe.model), expected["none"])
    pipe.save_pretrained(tmp_path / "whole")
    assert_close(answers(LaddPipeline.from_pretrained(tmp_path / "whole").model), expected["none"])


def test_a_deleted_adapter_is_gone_and_the_other_stays(both):
    pipe, expected = both
    pipe.set_adapters("second")
    pipe.delete_adapters("first")
    assert pipe.get_list_adapters() == {"model": ["second"]}
    assert_close(answers(pipe.model), expected["second"])


def test_the_adapter_that_is_named_is_saved_alone(both, stirred_model, tmp_path):
    pipe, expected = both
    pipe.set_adapters(["first", "second"])
    pipe.save_adapter(tmp_path / "saved", "first")
    assert pipe.get_active_adapters() == ["first", "second"]
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
    }
    other = LaddPipeline(stirred_model("discrete"))
    other.load_lora_weights(tmp_path / "saved")
    assert_close(answers(other.model), expected["first"])


def test_what_can_not_be_done_is_said(both, folders, tmp_path):
    pipe, expected = both
    for call, message in {
        lambda: pipe.load_lora_weights(folders[0] / "first", "first"): "already exists",
        lambda: pipe.set_adapters("third"): "third",
        lambda: pipe.set_adapters(["first", "second"], [1.0]): "1 `adapter_weights` for 2 adapters",
        lambda: pipe.delete_adapters("third"): "third",
        lambda: pipe.save_adapter(tmp_path / "saved", "third"): "third",
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
        assert_close(answers(pipe.model), expected["second"])
    pipe.set_adapters(["first", "second"])
    with pytest.raises(ValueError, match="`adapter_name` of the one to save"):
        pipe.save_adapter(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_whole_modules_have_no_weight(pipe):
    pipe.model.add_adapter(lora(["qkv_proj"], modules_to_save=["readout"]), "whole")
    pipe.set_adapters("whole", 1.0)
    for call in (lambda: pipe.set_adapters("whole", 0.5), lambda: pipe.fuse_lora(lora_scale=0.5)):
        with pytest.raises(ValueError, match="'whole' holds whole modules"):
            call()
    assert has_adapters(pipe.model)


def test_a_model_that_is_wrapped_keeps_its_adapters_to_itself(stirred_model, folders):
    pipe = LaddPipeline(get_peft_model(stirred_model("discrete"), lora()))
    with pytest.raises(ValueError, match="`get_peft_model` has wrapped the pipeline's model"):
        pipe.load_lora_weights(folders[0] / "first")


def test_a_compiled_model_takes_adapters(pipe, folders):
    folder, expected = folders
    pipe.model = torch.compile(pipe.model)
    pipe.load_lora_weights(folder / "first")
    assert pipe.get_active_adapters() == ["default_0"]
    assert_close(answers(pipe.model._orig_mod), expected["first"])


@pytest.mark.parametrize("way", ["loaded", "at once"])
def test_a_pipeline_with_an_adapter_that_was_loaded_is_saved_whole(way, stirred_model, folders, tmp_path):
    folder, expected = folders
    stirred_model("discrete").save_pretrained(tmp_path / "base")
    model = LaddForDiffusionLM.from_pretrained(tmp_path / "base")
    if way == "loaded":
        model.load_adapter(str(folder / "first"))
    else:
        model.add_adapter(lora())
        model.save_pretrained(tmp_path / "adapter")
        expected = {"first": answers(model)}
        model = LaddForDiffusionLM.from_pretrained(tmp_path / "adapter")
    LaddPipeline(model).save_pretrained(tmp_path / "whole")
    assert_close(answers(LaddPipeline.from_pretrained(tmp_path / "whole").model), expected["first"], atol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("way", ["lora", "loha"])
def test_what_is_fused_is_taken_out_again_with_its_scale(way, tied, stirred_model):
    pipe = LaddPipeline(stirred_model("discrete", tie_word_embeddings=tied))
    plain = answers(pipe.model)
    pipe.model.add_adapter(
        lora("all-linear") if way == "lora" else LoHaConfig(target_modules=["qkv_proj"], r=2, init_weights=False), "one"
    )
    pipe.set_adapters("one", 0.5)
    expected = answers(pipe.model)
    pipe.fuse_lora(["model"], lora_scale=3.0, adapter_names=["one"])
    fused = answers(pipe.model)
    assert differs(fused, expected) and pipe.fused_loras == {"one"} and pipe.lora_scale == 1
    pipe.unfuse_lora(["model"])
    assert pipe.num_fused_loras == 0
    assert_close(answers(pipe.model), expected, atol=1e-5)
    pipe.set_adapters("one", 1.5)  # three times one half
    assert_close(answers(pipe.model), fused, atol=1e-5)
    pipe.unload_lora_weights()
    assert_close(answers(pipe.model), plain, atol=1e-5)


def test_while_adapters_are_fused_no_others_are_promised(both, folders, tmp_path):
    pipe, expected = both
    pipe.fuse_lora()
    for call in (
        lambda: pipe.set_adapters("first"),
        lambda: pipe.load_lora_weights(folders[0] / "first"),
        lambda: pipe.delete_adapters("first"),
        lambda: pipe.disable_lora(),
        lambda: pipe.fuse_lora(adapter_names=["first"]),
    ):
        with pytest.raises(ValueError, match=r"\['second'\] are fused into the weights: call `unfuse_lora\(\)`"):
            call()
        assert_close(answers(pipe.model), expected["second"], atol=1e-5)
    pipe.save_adapter(tmp_path / "again")  # the adapter itself is as it was
    pipe.unfuse_lora()
    pipe.load_lora_weights(tmp_path / "again", "third")
    assert_close(answers(pipe.model), expected["second"], atol=1e-5)


def test_what_is_saved_while_adapters_are_fused_says_what_the_model_says(both, tmp_path, recwarn):
    pipe, expected = both
    pipe.fuse_lora()
    recwarn.clear()
    pipe.save_pretrained(tmp_path)
    assert not [one for one in recwarn if "merged" in str(one.message)], "it is not merged twice"
    assert pipe.fused_loras == {"second"}
    assert_close(answers(LaddPipeline.from_pretrained(tmp_path).model), expected["second"], atol=1e-5)


def test_weights_that_break_a_layer_are_not_fused(both):
    pipe, expected = both
    layer = next(layer for layer in adapter_layers(pipe.model) if "second" in layer.lora_B)
    kept = layer.lora_B["second"].weight.data.clone()
    layer.lora_B["second"].weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaNs detected"):
        pipe.fuse_lora(lora_scale=2.0)
    assert pipe.num_fused_loras == 0
    layer.lora_B["second"].weight.data.copy_(kept)
    assert_close(answers(pipe.model), expected["second"])


@pytest.mark.parametrize("components", [0.5, [], ["unet"], "model"])
def test_components_that_have_no_adapters_are_refused(components, both):
    pipe, _ = both
    for call in (pipe.fuse_lora, pipe.unfuse_lora):
        with pytest.raises(ValueError, match=r"adapters belong to \['model'\]"):
            call(components)


def test_adapters_are_not_swapped_in_place(both, folders):
    pipe, expected = both
    for call in (
        lambda: pipe.enable_lora_hotswap(target_rank=8),
        lambda: pipe.load_lora_weights(folders[0] / "first", "second", hotswap=True),
    ):
        with pytest.raises(ValueError, match="not swapped in place: remove the old one"):
            call()
    assert_close(answers(pipe.model), expected["second"])


def test_adapters_are_kept_on_another_device(both):
    pipe, _ = both
    pipe.set_lora_device(["first"], "meta")
    devices = {
        name: {weight.device.type for weight in adapter_parameters(pipe.model, [name])} for name in ("first", "second")
    }
    assert devices == {"first": {"meta"}, "second": {"cpu"}}
    with pytest.raises(ValueError, match="'third'"):
        pipe.set_lora_device("third", "cpu")


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(target_modules=["qkv_proj"], r=4, lora_alpha=12, use_rslora=True, init_lora_weights=False),
        LoraConfig(target_modules=["qkv_proj"], r=4, use_dora=True, init_lora_weights=False),
        AdaLoraConfig(target_modules=["qkv_proj"], total_step=10, init_lora_weights=False),
        LoHaConfig(target_modules=["qkv_proj"], r=4, init_weights=False),
        OFTConfig(target_modules=["qkv_proj"], oft_block_size=4, r=0, init_weights=False),
        BOFTConfig(target_modules=["qkv_proj"], boft_block_size=4, init_weights=False),
        IA3Config(target_modules=["qkv_proj"], feedforward_modules=[], init_ia3_weights=False),
    ],
    ids=lambda config: type(config).__name__,
)
def test_an_adapter_of_any_kind_says_the_same_when_it_is_chosen_at_weight_1(config, pipe):
    pipe.model.add_adapter(config, "own")
    expected = answers(pipe.model)
    for _ in range(2):
        pipe.set_adapters("own")
        assert_close(answers(pipe.model), expected)
    try:
        pipe.set_adapters("own", 0.5)
    except ValueError as error:
        assert "cannot be weighed" in str(error)
    else:
        assert differs(answers(pipe.model), expected)
    pipe.set_adapters("own", 1.0)
    assert_close(answers(pipe.model), expected)


def test_an_adapter_of_a_name_that_is_used_again_has_its_own_scale(pipe):
    for alpha in (4, 32):
        pipe.model.add_adapter(
            LoraConfig(target_modules=["qkv_proj"], r=4, lora_alpha=alpha, init_lora_weights=False), "own"
        )
        expected = answers(pipe.model)
        pipe.set_adapters("own", 0.5)
        pipe.set_adapters("own")
        assert_close(answers(pipe.model), expected)
        pipe.delete_adapters("own")


def test_layers_in_diffusers_file_are_found_in_a_subfolder(both, stirred_model, tmp_path):
    pipe, expected = both
    layers = get_peft_model_state_dict(pipe.model, adapter_name="second")
    told = pipe.model.peft_config["second"].to_dict()
    LaddPipeline.save_lora_weights(tmp_path / "there" / "sub", layers, told)
    other = LaddPipeline(stirred_model("discrete"))
    other.load_lora_weights(tmp_path / "there", subfolder="sub")
    assert_close(answers(other.model), expected["second"])


def test_an_option_that_is_misspelt_is_refused(pipe, folders, tmp_path):
    with pytest.raises(ValueError, match="`revison` is no option"):
        pipe.load_lora_weights(folders[0] / "first", revison="x")
    with pytest.raises(ValueError, match="`local_file_only` is no option"):
        pipe.lora_state_dict(tmp_path, local_file_only=True)


def test_what_diffusers_file_cannot_hold_is_not_written(pipe, tmp_path):
    pipe.model.add_adapter(LoHaConfig(target_modules=["qkv_proj"]), "own")
    with pytest.raises(ValueError, match="save_adapter"):
        LaddPipeline.save_lora_weights(tmp_path / "none", get_peft_model_state_dict(pipe.model, adapter_name="own"))
    assert not (tmp_path / "none").exists()


def test_an_adapter_to_fuse_may_be_given_as_a_name_alone(both):
    pipe, _ = both
    pipe.fuse_lora(adapter_names="first")
    assert pipe.fused_loras == {"first"} and pipe.get_active_adapters() == ["first"]
