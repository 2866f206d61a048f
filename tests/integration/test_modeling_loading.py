"""Models load in every way that transformers offers, and say in a sentence why one does not."""

from __future__ import annotations

import json
import os

import pytest
import torch
from helpers.model_calls import KINDS, MASK, WRITTEN, call, noised, some_latents, some_tokens
from helpers.sampling import seeded, tiny_tokenizer
from safetensors.torch import load_file, save_file
from torchao.quantization import Int8WeightOnlyConfig
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    TorchAoConfig,
    pipeline,
)
from transformers.testing_utils import CaptureLogger, LoggingLevel
from transformers.utils import logging

from ladd_hf import LaddForDiffusionLM, LaddModel, LaddPipeline, LaddSequentialScheduler
from ladd_hf.models.configuration_ladd import FORMAT_VERSION

pytestmark = pytest.mark.usefixtures("torch_seed")


@pytest.fixture
def saved(stirred_model, tmp_path):
    """`saved(kind, **options of save_pretrained)`: a model and the folder it was saved in."""

    def save(kind="discrete", **options):
        model = stirred_model(kind)
        model.save_pretrained(tmp_path / "model", **options)
        return model, tmp_path / "model"

    return save


def logits_of(model, kind="discrete"):
    torch.manual_seed(1)
    tokens = noised(some_tokens())
    return call(model, tokens, latents=some_latents(model)).logits


# --- ways to load ---


@pytest.mark.parametrize("kind", KINDS)
def test_auto_classes_load_what_was_saved(kind, saved):
    model, folder = saved(kind)
    assert AutoConfig.from_pretrained(folder).to_json_string() == model.config.to_json_string()
    loaded = AutoModelForMaskedLM.from_pretrained(folder)
    assert type(loaded) is LaddForDiffusionLM and torch.equal(logits_of(loaded), logits_of(model))
    streams = AutoModel.from_pretrained(folder)
    assert type(streams) is LaddModel
    assert all(torch.equal(value, streams.state_dict()[name]) for name, value in model.model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_gaps_are_filled_by_the_pipeline_of_masked_language_models(kind, saved):
    model, folder = saved(kind)
    model = AutoModelForMaskedLM.from_pretrained(folder)
    answers = pipeline("fill-mask", model=model, tokenizer=tiny_tokenizer(), top_k=9)("ab[MASK]d")
    ids = torch.tensor([tiny_tokenizer()("ab[MASK]d")["input_ids"]])
    expected = model(ids).logits[0, 2].softmax(-1)
    assert {answer["token"]: answer["score"] for answer in answers} == pytest.approx(
        {token: expected[token].item() for token in range(1, MASK)}, abs=1e-6
    )


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16, "auto"])
def test_the_dtype_is_the_one_asked_for(dtype, saved):
    _, folder = saved()
    wanted = {"auto": torch.float32, "bfloat16": torch.bfloat16}.get(dtype, dtype)
    loaded = LaddForDiffusionLM.from_pretrained(folder, dtype=dtype)
    assert loaded.dtype == wanted and logits_of(loaded).dtype == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_shards_make_up_the_whole(kind, saved):
    model, folder = saved(kind, max_shard_size="40KB")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2 and not (folder / "model.safetensors").exists()
    assert torch.equal(logits_of(LaddForDiffusionLM.from_pretrained(folder)), logits_of(model))


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_a_device_map_places_it(device_map, saved):
    model, folder = saved()
    loaded = LaddForDiffusionLM.from_pretrained(folder, device_map=device_map, max_memory={"cpu": "1GB"})
    assert loaded.device.type == "cpu" and torch.equal(logits_of(loaded), logits_of(model))


@pytest.mark.parametrize("kind", KINDS)
def test_with_little_memory_weights_wait_on_the_disk(kind, saved, tmp_path):
    model, folder = saved(kind)
    loaded = LaddForDiffusionLM.from_pretrained(
        folder,
        device_map="auto",
        max_memory={"cpu": model.get_memory_footprint() // 3},
        offload_folder=str(tmp_path / "disk"),
    )
    waiting = [name for name, weight in loaded.named_parameters() if weight.device.type == "meta"]
    assert len(waiting) > 10, "not in memory"
    assert torch.equal(logits_of(loaded), logits_of(model))
    pipe = LaddPipeline(loaded, LaddSequentialScheduler())
    assert pipe(num_steps=2, generator=seeded()).nfe == 2


@pytest.mark.parametrize("kind", ["none", "discrete", "continuous"])
def test_quantised_weights_predict_nearly_the_same(kind, saved):
    model, folder = saved(kind)
    quantised = LaddForDiffusionLM.from_pretrained(
        folder, quantization_config=TorchAoConfig(Int8WeightOnlyConfig()), device_map="cpu"
    )
    assert type(quantised.model.blocks[0].streams["token"].qkv_proj.weight).__name__ != "Parameter"
    expected, logits = logits_of(model), logits_of(quantised)
    assert logits[..., MASK].isneginf().all()
    assert torch.cosine_similarity(expected[..., WRITTEN].flatten(), logits[..., WRITTEN].flatten(), dim=0) > 0.99
    assert (LaddPipeline(quantised)(num_steps=4, generator=seeded()).sequences != MASK).all()


@pytest.mark.parametrize("kind", KINDS)
def test_more_tokens_are_room_for_more(kind, stirred_model):
    model = stirred_model(kind)
    before = logits_of(model)
    model.resize_token_embeddings(16)
    assert model.config.vocab_size == 16 and model.config.mask_token_id == MASK
    after = logits_of(model)
    assert after.shape[-1] == 16 and torch.allclose(after[..., WRITTEN], before[..., WRITTEN], atol=1e-5)
    assert after[..., MASK].isneginf().all() and after[..., MASK + 1 :].isfinite().all()
    tokens = torch.full((2, 12), 15)
    assert model(tokens, labels=tokens).loss.isfinite(), "the encoder reads them, too"


def test_hidden_states_and_weights_of_attention_are_given_where_asked_for(stirred_model):
    model = stirred_model("discrete")
    model.set_attn_implementation("eager")
    tokens = some_tokens()
    output = model(tokens, some_latents(model), output_hidden_states=True, output_attentions=True)
    assert [states.shape for states in output.hidden_states] == [(*tokens.shape, 32)] * 3
    total = tokens.shape[1] + 4
    assert [weights.shape for weights in output.attentions] == [(len(tokens), 2, total, total)] * 2


# --- what is refused ---


def edit(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_another_kind_of_model_is_named(saved):
    _, folder = saved()
    edit(folder, model_type="ladle")
    with pytest.raises(ValueError, match="model type `ladle`"):
        AutoModelForMaskedLM.from_pretrained(folder)
    with pytest.raises(ValueError, match=r"of type 'ladle', which is not 'ladd': load it with"):
        LaddForDiffusionLM.from_pretrained(folder)


def test_a_configuration_of_a_newer_version_is_not_guessed_at(saved):
    _, folder = saved()
    edit(folder, format_version=FORMAT_VERSION + 1)
    for load in (LaddForDiffusionLM, AutoModelForMaskedLM, AutoConfig):
        with pytest.raises(ValueError, match=f"`format_version` {FORMAT_VERSION + 1}, of a newer ladd_hf.*upgrade"):
            load.from_pretrained(folder)


def test_a_misspelt_setting_is_named(tiny_config):
    with pytest.raises(ValueError, match="no setting `latent_lenght`; did you mean `latent_length`"):
        tiny_config("discrete", latent_lenght=3)
    assert tiny_config("discrete", id2label={0: "a"}).id2label == {0: "a"}, "transformers' own are taken"


@pytest.mark.parametrize("load", [LaddForDiffusionLM, AutoModelForMaskedLM])
def test_missing_and_extra_weights_are_named(load, saved):
    _, folder = saved()
    change_weights(folder, lambda weights: weights.pop("token_head.norm.weight"))
    with pytest.raises(ValueError, match=r"lacks token_head\.norm\.weight\. Load it with the class"):
        load.from_pretrained(folder)
    change_weights(folder, lambda weights: weights.update({"other.weight": torch.zeros(2)}))
    with pytest.raises(ValueError, match=r"lacks token_head\.norm\.weight and has other\.weight besides"):
        load.from_pretrained(folder)
    _, info = load.from_pretrained(folder, output_loading_info=True)
    assert info["missing_keys"] == {"token_head.norm.weight"} and info["unexpected_keys"] == {"other.weight"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_streams_load_from_a_whole_models_folder_without_a_report_of_its_other_parts(kind, saved):
    model, folder = saved(kind)
    for load in (AutoModel, LaddModel):
        with LoggingLevel(logging.WARNING), CaptureLogger(logging.get_logger("transformers.modeling_utils")) as told:
            streams = load.from_pretrained(folder)
        assert type(streams) is LaddModel and told.out == ""
        state = model.model.state_dict()
        assert all(torch.equal(weight, state[name]) for name, weight in streams.state_dict().items())
    assert any(name.startswith("token_head.") for name in load_file(folder / "model.safetensors"))


def test_what_is_no_part_of_a_model_is_still_reported(saved):
    _, folder = saved()
    change_weights(folder, lambda weights: weights.update({"other.weight": torch.zeros(2)}))
    with LoggingLevel(logging.WARNING), CaptureLogger(logging.get_logger("transformers.modeling_utils")) as told:
        LaddModel.from_pretrained(folder)
    assert "other.weight" in told.out and "token_head" not in told.out
    change_weights(folder, lambda weights: weights.update({"encoder.other.weight": weights.pop("other.weight")}))
    with pytest.raises(ValueError, match=r"has encoder\.other\.weight besides"):
        LaddForDiffusionLM.from_pretrained(folder)


def test_weights_of_another_size_are_an_error(saved):
    _, folder = saved()
    edit(folder, vocab_size=12, mask_token_id=11)
    with pytest.raises(ValueError, match=r"does not fit.*embed_tokens.weight is \[11, 32\], not \[12, 32\]"):
        LaddForDiffusionLM.from_pretrained(folder)
    loaded, info = LaddForDiffusionLM.from_pretrained(folder, ignore_mismatched_sizes=True, output_loading_info=True)
    assert len(loaded.model.embed_tokens.weight) == 12 and info["mismatched_keys"]


@pytest.mark.parametrize("options", [{}, {"use_safetensors": True}])
def test_a_pickle_is_read_only_where_it_is_asked_for(options, saved):
    model, folder = saved()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    os.remove(folder / "model.safetensors")
    with pytest.raises(OSError, match=r"as a pickle \(pytorch_model\.bin\).* give `use_safetensors=False`"):
        LaddForDiffusionLM.from_pretrained(folder, **options)
    loaded = LaddForDiffusionLM.from_pretrained(folder, use_safetensors=False)
    assert torch.equal(logits_of(loaded), logits_of(model))


def test_an_index_of_safetensors_that_names_a_pickle_is_refused_before_it_is_read(saved):
    _, folder = saved(max_shard_size="40KB")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shard = sorted(set(index["weight_map"].values()))[0]
    torch.save(load_file(folder / shard), folder / "weights.bin")
    renamed = {name: "weights.bin" if file == shard else file for name, file in index["weight_map"].items()}
    (folder / "model.safetensors.index.json").write_text(json.dumps({**index, "weight_map": renamed}))
    for load in (LaddForDiffusionLM.from_pretrained, AutoModelForMaskedLM.from_pretrained):
        with pytest.raises(OSError, match=r"index of the weights names weights\.bin, .* a pickle can run code"):
            load(folder)


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        ('{"weight_map"', "is no whole JSON file"),
        ("[]", "is no index of weights"),
        ('{"weight_map": {}}', "is no index of weights"),
        ('{"metadata": {}, "weight_map": ["model.safetensors"]}', "is no index of weights"),
        ('{"metadata": {}, "weight_map": {"token_head.proj.bias": 1}}', "is no index of weights"),
    ],
)
def test_an_index_that_is_none_is_named(broken, what, saved):
    _, folder = saved(max_shard_size="40KB")
    (folder / "model.safetensors.index.json").write_text(broken)
    with pytest.raises(OSError, match=rf"model\.safetensors\.index\.json {what}.*save the model again"):
        LaddForDiffusionLM.from_pretrained(folder)


def test_weights_that_are_cut_off_are_an_error(saved):
    _, folder = saved()
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(OSError, match=r"are no whole safetensors file .* fetch or save them again"):
        LaddForDiffusionLM.from_pretrained(folder)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(stirred_model):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["ab", "cd"])
    with pytest.raises(ValueError, match=r"has 13 tokens, the model's `vocab_size` is 11: use the tokenizer"):
        LaddPipeline(stirred_model("none"), tokenizer=tokenizer)
