"""Requirements of diffusers on pipelines and schedulers."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from helpers.sampling import KINDS, SCHEDULERS, seeded, tiny_tokenizer

from ladd_hf import LaddJointScheduler, LaddPipeline, LaddSequentialScheduler
from ladd_hf.schedulers import LaddScheduler


def run(pipe, **options):
    pipe.set_progress_bar_config(disable=True)
    return pipe(**{"num_steps": 4, "batch_size": 3, "generator": seeded(), **options})


# --- the call, and where it runs ---


def test_a_call_has_the_arguments_and_components_that_diffusers_looks_for(build, tokenizer):
    pipe = build("discrete", tokenizer=tokenizer)
    names = set(inspect.signature(LaddPipeline.__call__).parameters)
    assert {
        *("prompt", "num_inference_steps", "generator", "latents", "output_type", "return_dict"),
        *("callback_on_step_end", "callback_on_step_end_tensor_inputs"),
    } <= names
    assert set(pipe.components) == {"model", "scheduler", "tokenizer"}
    again = LaddPipeline(**pipe.components)
    assert torch.equal(run(again).sequences, run(pipe).sequences)


def test_every_tensor_that_a_callback_may_ask_for_is_there(build):
    pipe, seen = build("discrete"), []

    def look(pipe, step, timestep, tensors):
        seen.append({name: torch.is_tensor(value) for name, value in tensors.items()})
        return tensors if step < 0 else {}

    run(pipe, callback_on_step_end=look, callback_on_step_end_tensor_inputs=pipe._callback_tensor_inputs)
    assert seen == [dict.fromkeys(pipe._callback_tensor_inputs, True)] * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_writes_without_nan(kind, dtype, build, scheduler):
    pipe = build(kind, scheduler).to(dtype)
    assert pipe.model.dtype == dtype and pipe.dtype == dtype
    result = run(pipe)
    assert (result.sequences != 10).all()
    assert result.latents is None or result.latents.isfinite().all()


def test_it_moves_between_devices_and_dtypes(build):
    pipe = build("continuous")
    assert pipe.to("cpu") is pipe and pipe.device.type == "cpu"
    expected = run(pipe).sequences
    pipe.to(torch.float64)
    assert pipe.model.dtype == torch.float64
    assert torch.equal(run(pipe.to("cpu", torch.float32)).sequences, expected)
    pipe.to("meta")
    assert pipe.device.type == "meta"


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_kept_elsewhere_comes_for_its_calls_alone(kind, build, scheduler):
    pipe = build(kind, scheduler)
    expected = run(pipe).sequences
    home = {name: weight.detach().clone() for name, weight in pipe.model.state_dict().items()}
    add_hook_to_module(pipe.model, AlignDevicesHook("cpu", offload=True, weights_map=home, place_submodules=True))
    assert {weight.device.type for weight in pipe.model.parameters()} == {"meta"}
    assert torch.equal(run(pipe).sequences, expected)
    assert {weight.device.type for weight in pipe.model.parameters()} == {"meta"}, "and is gone again"


def test_diffusers_offload_needs_a_device_to_offload_from(build):
    if torch.cuda.is_available():
        pipe = build("discrete")
        pipe.enable_model_cpu_offload()
        assert run(pipe).sequences.device.type == "cuda" and pipe.model.device.type == "cpu"
    else:
        with pytest.raises(RuntimeError, match="requires accelerator"):
            build("discrete").enable_model_cpu_offload()


# --- saving and loading ---


def test_the_dtype_is_chosen_where_it_is_loaded(build, tmp_path):
    build("discrete").save_pretrained(tmp_path)
    assert LaddPipeline.from_pretrained(tmp_path, torch_dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_a_variant_is_saved_and_loaded_by_its_name(build, tmp_path):
    pipe = build("discrete").to(torch.float16)
    pipe.save_pretrained(tmp_path, variant="fp16")
    assert (tmp_path / "model" / "model.fp16.safetensors").is_file()
    loaded = LaddPipeline.from_pretrained(tmp_path, variant="fp16", torch_dtype=torch.float16)
    assert torch.equal(run(loaded).sequences, run(pipe).sequences)


def test_components_can_be_given_instead_of_loaded(build, stirred_model, tokenizer, tmp_path):
    build("discrete", tokenizer=tokenizer).save_pretrained(tmp_path)
    own = stirred_model("discrete")
    loaded = LaddPipeline.from_pretrained(tmp_path, model=own, tokenizer=None, scheduler=LaddSequentialScheduler())
    assert loaded.model is own and loaded.tokenizer is None and type(loaded.scheduler) is LaddSequentialScheduler


def test_a_saved_pipeline_names_files_that_import_its_classes(build, tokenizer, tmp_path):
    build("discrete", "sequential", tokenizer).save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "LaddPipeline"]
    assert index["model"] == ["modeling", "LaddForDiffusionLM"]
    assert index["scheduler"] == ["scheduling", "LaddSequentialScheduler"] and index["tokenizer"][0] == "transformers"
    for file, name in (
        ("pipeline.py", "LaddPipeline"),
        ("model/modeling.py", "LaddForDiffusionLM"),
        ("scheduler/scheduling.py", "LaddSequentialScheduler"),
    ):
        namespace: dict[str, object] = {}
        exec((tmp_path / file).read_text(), namespace)
        assert namespace[name].__module__.startswith("ladd_hf")


def test_diffusers_alone_loads_a_folder_that_is_trusted(build, tmp_path):
    pipe = build("discrete")
    pipe.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        DiffusionPipeline.from_pretrained(tmp_path)
    loaded = DiffusionPipeline.from_pretrained(tmp_path, trust_remote_code=True)
    assert type(loaded) is LaddPipeline and torch.equal(run(loaded).sequences, run(pipe).sequences)
    loaded.save_pretrained(tmp_path / "again")
    assert torch.equal(run(LaddPipeline.from_pretrained(tmp_path / "again")).sequences, run(pipe).sequences)


@pytest.mark.parametrize("with_tokenizer", [False, True])
def test_a_models_folder_is_a_pipeline_with_the_default_schedule(with_tokenizer, stirred_model, tmp_path):
    model = stirred_model("discrete")
    model.save_pretrained(tmp_path)
    if with_tokenizer:
        tiny_tokenizer().save_pretrained(tmp_path)
    pipe = LaddPipeline.from_pretrained(tmp_path)
    assert type(pipe.scheduler) is LaddJointScheduler and (pipe.tokenizer is not None) == with_tokenizer
    assert torch.equal(run(pipe).sequences, run(LaddPipeline(model)).sequences)


def test_a_folder_that_is_neither_says_what_it_lacks(tmp_path):
    with pytest.raises(OSError, match=r"no file named model_index\.json"):
        LaddPipeline.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(OSError, match=r"no file named model_index\.json"):
        LaddPipeline.from_pretrained(tmp_path)


# --- schedulers stand in for each other ---


def test_schedulers_know_each_other(build):
    class Again(LaddJointScheduler):
        """A user's own, two classes below the base."""

    for name in SCHEDULERS:
        known = {LaddScheduler, Again, *SCHEDULERS.values()}
        assert known <= set(build("discrete", name).scheduler.compatibles)


def test_what_one_schedule_has_is_kept_for_when_it_comes_back(build, caplog):
    pipe = build("discrete", "sequential")
    pipe.scheduler = LaddSequentialScheduler.from_config(pipe.scheduler.config, latent_share=0.25, max_latent_steps=3)
    expected = run(pipe, num_steps=8).sequences
    logger = diffusers_logging.get_logger("diffusers.configuration_utils")
    logger.addHandler(caplog.handler)
    try:
        pipe.scheduler = LaddJointScheduler.from_config(pipe.scheduler.config)
        assert not torch.equal(run(pipe, num_steps=8).sequences, expected)
        pipe.scheduler = LaddSequentialScheduler.from_config(pipe.scheduler.config)
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records, "nothing is unexpected"
    assert pipe.scheduler.config.latent_share == 0.25 and pipe.scheduler.config.max_latent_steps == 3
    assert torch.equal(run(pipe, num_steps=8).sequences, expected)
