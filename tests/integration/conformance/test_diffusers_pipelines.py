"""What diffusers' suite of pipelines asks of a pipeline (see `helpers.diffusers_suites`), of three of them.

Images of the suite are token ids here, `num_images_per_prompt` is `num_samples_per_prompt`, and latents are those of
the output, for which there is no `output_type`.
"""

from __future__ import annotations

import inspect
import json

import accelerate
import pytest
import torch
from diffusers.hooks import apply_group_offloading
from diffusers.utils import logging
from helpers.diffusers_suites import PIPELINES, LeftOut, unanswered
from helpers.sampling import MASK, SCHEDULERS, seeded, tiny_tokenizer

from ladd_hf import LaddForDiffusionLM, LaddJointScheduler, LaddPipeline

needs_accelerator = pytest.mark.skipif(not torch.cuda.is_available(), reason="test requires accelerator")

LEFT_OUT = {
    "test_encode_prompt_works_in_isolation": LeftOut(
        "prompts are tokens of the sequence, which nothing encodes", lambda: not hasattr(LaddPipeline, "encode_prompt")
    ),
    "test_layerwise_casting_inference": LeftOut(
        "the model is one of transformers, which has no such method",
        lambda: not hasattr(LaddForDiffusionLM, "enable_layerwise_casting"),
    ),
}


def run(pipe, **options):
    """Returns the first output, the sequences."""
    inputs = {"prompt": "ab", "num_inference_steps": 4, "generator": seeded(), "output_type": "seq"}
    return pipe(**{**inputs, **options})[0]


def hooks_of(pipe):
    hook = pipe.model._hf_hook
    return hook.hooks if isinstance(hook, accelerate.hooks.SequentialHook) else [hook]


@pytest.mark.parametrize(
    ("kind", "scheduler"), [("none", "joint"), ("discrete", "sequential"), ("continuous", "joint")]
)
class TestPipelines:
    @pytest.fixture(autouse=True)
    def _parts(self, kind, scheduler, stirred_model):
        def build(**options):
            pipe = LaddPipeline(stirred_model(kind, **options), SCHEDULERS[scheduler](), tiny_tokenizer())
            pipe.set_progress_bar_config(disable=True)
            return pipe

        self.kind, self.build = kind, build
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.pipe = build().to(self.device)

    def loaded(self, folder, **options):
        pipe = LaddPipeline.from_pretrained(folder, **options).to(self.device)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    # --- the call ---

    def test_output(self):
        assert run(self.pipe).shape == (1, 12) and (run(self.pipe) != MASK).all()

    def test_pipeline_call_signature(self):
        parameters = inspect.signature(LaddPipeline.__call__).parameters
        optional = {name for name, one in parameters.items() if one.default is not inspect.Parameter.empty}
        assert optional == {*parameters} - {"self"}, "every argument has a default"
        assert {
            *("prompt", "num_inference_steps", "num_samples_per_prompt", "generator", "latents", "output_type"),
            *("return_dict", "guidance_scale", "callback_on_step_end", "callback_on_step_end_tensor_inputs"),
        } <= optional

    def test_inference_batch_consistent(self):
        longest = "abcdefghiabc"
        for generator in (seeded(), [seeded(0), seeded(1)]):
            assert len(run(self.pipe, prompt=["a", longest], generator=generator)) == 2

    def test_inference_batch_single_identical(self):
        batch = run(self.pipe, prompt=["ab", "a", "abcdefghiabc"], generator=[seeded(i) for i in range(3)])
        assert torch.equal(batch[0], run(self.pipe)[0])

    def test_dict_tuple_outputs_equivalent(self):
        assert torch.equal(run(self.pipe, return_dict=False), run(self.pipe))

    def test_num_images_per_prompt(self):
        for prompts in (1, 2):
            for samples in (1, 2):
                found = run(self.pipe, prompt=["ab"] * prompts, num_samples_per_prompt=samples)
                assert len(found) == prompts * samples

    def test_cfg(self):
        if self.kind == "none":
            with pytest.raises(ValueError, match="guidance_scale"):
                run(self.pipe, guidance_scale=7.5)
            return
        pipe = self.build(latent_dropout=0.1).to(self.device)
        assert run(pipe, guidance_scale=7.5).shape == run(pipe, guidance_scale=1.0).shape

    # --- callbacks ---

    def test_callback_inputs(self):
        allowed, seen = self.pipe._callback_tensor_inputs, []

        def look(pipe, step, timestep, tensors):
            seen.append(set(tensors))
            return tensors

        expected = run(self.pipe)
        for names in (["tokens"], allowed):
            assert torch.equal(
                run(self.pipe, callback_on_step_end=look, callback_on_step_end_tensor_inputs=names), expected
            )
            assert seen[-4:] == [set(names)] * 4

        def clear(pipe, step, timestep, tensors):
            if step == pipe.num_timesteps - 1:
                cleared = [name for name in ("tokens", "latents") if tensors[name] is not None]
                tensors.update({name: torch.zeros_like(tensors[name]) for name in cleared})
            return tensors

        options = {"callback_on_step_end": clear, "callback_on_step_end_tensor_inputs": allowed, "prompt": "ab"}
        output = self.pipe(num_inference_steps=4, output_type="seq", **options)
        assert not output.sequences.any() and (output.latents is None or not output.latents.any())

    def test_callback_cfg(self):
        def raise_it(pipe, step, timestep, tensors):
            pipe._guidance_scale += 1.0
            return tensors

        pipe = self.build(**({} if self.kind == "none" else {"latent_dropout": 0.1})).to(self.device)
        options = {"callback_on_step_end": raise_it, "callback_on_step_end_tensor_inputs": pipe._callback_tensor_inputs}
        if self.kind == "none":
            with pytest.raises(ValueError, match="guidance_scale"):
                run(pipe, **options)
            return
        run(pipe, guidance_scale=2.0, **options)
        assert pipe.guidance_scale == 2.0 + pipe.num_timesteps

    # --- components, devices and dtypes ---

    def test_components_function(self):
        assert set(self.pipe.components) == {"model", "scheduler", "tokenizer"}
        again = LaddPipeline(**self.pipe.components)
        again.set_progress_bar_config(disable=True)
        assert torch.equal(run(again), run(self.pipe))

    def test_half_precision_inference_no_nan(self):
        for dtype in (torch.float16, torch.bfloat16):
            output = self.pipe.to(dtype)(num_inference_steps=4, generator=seeded(), output_type="seq")
            assert (output.sequences != MASK).all() and (output.latents is None or output.latents.isfinite().all())

    def test_to_device(self):
        for device in ("cpu", self.device):
            self.pipe.to(device)
            assert self.pipe.model.device.type == device and run(self.pipe).device.type == device

    def test_to_dtype(self):
        assert self.pipe.model.dtype == torch.float32
        assert self.pipe.to(dtype=torch.float16).model.dtype == torch.float16

    # --- saving and loading ---

    def test_save_load_local(self, tmp_path):
        self.pipe.save_pretrained(tmp_path, safe_serialization=False)  # transformers' models write safetensors anyway
        lines = []
        logger, before = logging.get_logger("diffusers.pipelines.pipeline_utils"), logging.get_verbosity()
        logger.addFilter(take := lambda record: lines.append(record.getMessage()) or True)
        logging.set_verbosity_info()
        try:
            loaded = self.loaded(tmp_path)
        finally:
            logger.removeFilter(take)
            logging.set_verbosity(before)
        assert any("model" in line for line in lines), "each part is told of"
        assert torch.equal(run(loaded), run(self.pipe))

    def test_save_load_float16(self, tmp_path):
        self.pipe.to(torch.float16).save_pretrained(tmp_path)
        loaded = self.loaded(tmp_path, dtype=torch.float16)
        assert loaded.model.dtype == torch.float16 and torch.equal(run(loaded), run(self.pipe))

    def test_save_load_optional_components(self, tmp_path):
        for name in self.pipe._optional_components:
            setattr(self.pipe, name, None)
        ids = {"prompt": torch.tensor([[1, 2]])}
        self.pipe.save_pretrained(tmp_path)
        loaded = self.loaded(tmp_path)
        assert loaded.tokenizer is None
        assert type(loaded.scheduler) is LaddJointScheduler, "no scheduler is the default one: there is no run without"
        assert torch.equal(run(loaded, **ids), run(self.pipe, **ids))

    def test_serialization_with_variants(self, tmp_path):
        self.pipe.save_pretrained(tmp_path, variant="fp16", safe_serialization=False)
        assert "model" in json.loads((tmp_path / "model_index.json").read_text())
        assert [path.name for path in (tmp_path / "model").glob("*.safetensors")] == ["model.fp16.safetensors"]

    def test_loading_with_variants(self, tmp_path):
        self.pipe.save_pretrained(tmp_path, variant="fp16")
        loaded = self.loaded(tmp_path, variant="fp16").model.state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in self.pipe.model.state_dict().items())

    def test_loading_with_incorrect_variants_raises_error(self, tmp_path):
        self.pipe.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="You are trying to load the model files of the `variant=fp16`"):
            LaddPipeline.from_pretrained(tmp_path, variant="fp16")

    def test_torch_dtype_dict(self, tmp_path):
        self.pipe.save_pretrained(tmp_path)
        for wanted, dtype in {"model": torch.bfloat16, "another": torch.float16}.items():
            given = {wanted: torch.bfloat16, "default": torch.float16}
            assert LaddPipeline.from_pretrained(tmp_path, dtype=given).model.dtype == dtype

    def test_pipeline_with_accelerator_device_map(self, tmp_path):
        self.pipe.save_pretrained(tmp_path)
        loaded = LaddPipeline.from_pretrained(tmp_path, device_map=self.device)
        loaded.set_progress_bar_config(disable=True)
        assert torch.equal(run(loaded), run(self.pipe))

    # --- offloading ---

    def _offloads(self, enable, kept_on, hook):
        expected = run(self.pipe)
        enable(device="cuda")
        assert self.pipe._execution_device.type == "cuda" and torch.equal(run(self.pipe), expected)
        assert self.pipe.model.device.type == kept_on
        assert all(isinstance(one, hook) for one in hooks_of(self.pipe))

    @needs_accelerator
    def test_sequential_cpu_offload_forward_pass(self):
        self._offloads(self.pipe.enable_sequential_cpu_offload, "meta", accelerate.hooks.AlignDevicesHook)

    @needs_accelerator
    def test_model_cpu_offload_forward_pass(self):
        self._offloads(self.pipe.enable_model_cpu_offload, "cpu", accelerate.hooks.CpuOffload)

    @needs_accelerator
    def test_cpu_offload_forward_pass_twice(self):
        self.pipe.enable_model_cpu_offload()
        expected = run(self.pipe)
        self.pipe.enable_model_cpu_offload()
        assert torch.equal(run(self.pipe), expected) and self.pipe.model.device.type == "cpu"

    @needs_accelerator
    def test_sequential_offload_forward_pass_twice(self):
        self.pipe.enable_sequential_cpu_offload(device="cuda")
        expected = run(self.pipe)
        self.pipe.enable_sequential_cpu_offload(device="cuda")
        assert torch.equal(run(self.pipe), expected) and self.pipe.model.device.type == "meta"

    def test_group_offloading_inference(self):
        expected = run(self.pipe)
        for options in ({"offload_type": "block_level", "num_blocks_per_group": 1}, {"offload_type": "leaf_level"}):
            pipe = self.build()
            apply_group_offloading(pipe.model, onload_device=torch.device(self.device), **options)
            hooked = [module for module in pipe.model.modules() if hasattr(module, "_diffusers_hook")]
            assert any(module._diffusers_hook.get_hook("group_offloading") is not None for module in hooked)
            assert torch.equal(run(pipe), expected)

    def test_pipeline_level_group_offloading_sanity_checks(self):
        pipe = self.build()
        options = {"onload_device": self.device, "offload_device": "cpu", "offload_type": "leaf_level"}
        pipe.enable_group_offload(**options, exclude_modules="model")
        assert pipe.model.device.type == self.device and not hasattr(pipe.model, "_diffusers_hook")

    def test_pipeline_level_group_offloading_inference(self):
        pipe = self.build()
        pipe.enable_group_offload(onload_device=self.device, offload_device="cpu", offload_type="leaf_level")
        assert torch.equal(run(pipe), run(self.pipe))


def test_every_test_of_the_suite_is_asked_or_left_out_for_a_reason_that_holds():
    assert not (wrong := unanswered(PIPELINES, TestPipelines, LEFT_OUT)), wrong
