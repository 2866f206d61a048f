"""What diffusers' suite of LoRA asks of a `LoraBaseMixin` (see `helpers.diffusers_suites`).

Outputs are compared as the model's answers, numbers where the texts are symbols.
"""

from __future__ import annotations

import inspect

import pytest
import torch
from diffusers.hooks import apply_group_offloading
from diffusers.hooks.group_offloading import _get_top_level_group_offload_hook
from diffusers.loaders.lora_base import LoraBaseMixin
from helpers.adapters import answers, assert_close, differs, lora
from helpers.diffusers_suites import LORA, LeftOut, unanswered
from helpers.sampling import seeded
from peft.utils import get_peft_model_state_dict

from ladd_hf import LaddPipeline
from ladd_hf.models.adapters import has_adapters

FILE = "pytorch_lora_weights"
needs_accelerator = pytest.mark.skipif(not torch.cuda.is_available(), reason="test requires accelerator")


def without(reason, *names, there):
    return {name: LeftOut(reason, lambda: not there()) for name in names}


LEFT_OUT = {
    **without(
        "the tokenizer's ids go straight to the model: there is no text encoder",
        "test_simple_inference_with_text_lora",
        "test_simple_inference_with_text_lora_and_scale",
        "test_simple_inference_with_text_lora_unloaded",
        "test_simple_inference_with_text_lora_save_load",
        "test_simple_inference_with_partial_text_lora",
        "test_simple_inference_save_pretrained_with_text_lora",
        there=lambda: any(name.startswith("text_encoder") for name in LaddPipeline._lora_loadable_modules),
    ),
    **without(
        "a call has no scale of adapters, which `set_adapters` sets for all calls",
        "test_simple_inference_with_text_denoiser_lora_and_scale",
        "test_set_adapters_match_attention_kwargs",
        there=lambda: any(
            name.endswith("attention_kwargs") for name in inspect.signature(LaddPipeline.__call__).parameters
        ),
    ),
    **without(
        "weights by block are those of a U-Net's",
        "test_simple_inference_with_text_denoiser_block_scale",
        "test_simple_inference_with_text_denoiser_multi_adapter_block_lora",
        "test_simple_inference_with_text_denoiser_block_scale_for_all_dict_options",
        there=lambda: "unet" in LaddPipeline._lora_loadable_modules,
    ),
}


def add(pipe, name="default", seed=1, **options):
    torch.manual_seed(seed)
    pipe.model.add_adapter(lora(["qkv_proj", "o_proj"], **{"r": 4, "lora_alpha": 4, **options}), name)
    pipe.model.eval()


def weights(pipe):
    return {"model_lora_layers": get_peft_model_state_dict(pipe.model)}


def metadata(pipe):
    return {"model_lora_adapter_metadata": pipe.model.peft_config["default"].to_dict()}


def said(pipe):
    """Returns the model's answers, after a run of the pipeline."""
    assert pipe(num_inference_steps=2, generator=seeded(), output_type="seq").sequences.shape == (1, 12)
    return answers(pipe.model)


def close(left, right):
    assert_close(left, right, atol=1e-4)


class TestLora:
    @pytest.fixture(autouse=True)
    def _parts(self, stirred_model):
        def build():
            pipe = LaddPipeline(stirred_model("discrete"))
            pipe.set_progress_bar_config(disable=True)
            return pipe

        self.build, self.pipe = build, build()
        self.base = said(self.pipe)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def two(self):
        """Gives the pipeline two adapters; returns what it says with each."""
        for number in (1, 2):
            add(self.pipe, f"adapter-{number}", seed=number)
        return [self.with_active(f"adapter-{number}") for number in (1, 2)]

    def with_active(self, *arguments):
        self.pipe.set_adapters(*arguments)
        return said(self.pipe)

    # --- saving and loading ---

    def test_simple_inference_with_text_denoiser_lora_save_load(self, tmp_path):
        add(self.pipe)
        expected = said(self.pipe)
        assert differs(expected, self.base)
        LaddPipeline.save_lora_weights(save_directory=tmp_path, safe_serialization=False, **weights(self.pipe))
        assert (tmp_path / f"{FILE}.bin").is_file()
        self.pipe.unload_lora_weights()
        self.pipe.load_lora_weights(tmp_path / f"{FILE}.bin", use_safetensors=False)
        close(said(self.pipe), expected)

    def test_low_cpu_mem_usage_with_loading(self, tmp_path):
        add(self.pipe)
        expected = said(self.pipe)
        LaddPipeline.save_lora_weights(save_directory=tmp_path, **weights(self.pipe))
        for low in (False, True):
            self.pipe.unload_lora_weights()
            self.pipe.load_lora_weights(tmp_path / f"{FILE}.safetensors", low_cpu_mem_usage=low)
            assert has_adapters(self.pipe.model)
            close(said(self.pipe), expected)

    @pytest.mark.parametrize("lora_alpha", [4, 8, 16])
    def test_lora_adapter_metadata_is_loaded_correctly(self, tmp_path, lora_alpha):
        add(self.pipe, lora_alpha=lora_alpha)
        LaddPipeline.save_lora_weights(save_directory=tmp_path, **weights(self.pipe), **metadata(self.pipe))
        read, found = self.pipe.lora_state_dict(tmp_path, return_lora_metadata=True)
        assert all(key.startswith("model.") for key in (*read, *found))
        for name, value in self.pipe.model.peft_config["default"].to_dict().items():
            told = found.get(f"model.{name}")
            assert (set(told) if isinstance(value, set) else told) == value, name

    @pytest.mark.parametrize("lora_alpha", [4, 8, 16])
    def test_lora_adapter_metadata_save_load_inference(self, tmp_path, lora_alpha):
        add(self.pipe, lora_alpha=lora_alpha)
        expected = said(self.pipe)
        LaddPipeline.save_lora_weights(save_directory=tmp_path, **weights(self.pipe), **metadata(self.pipe))
        self.pipe.unload_lora_weights()
        self.pipe.load_lora_weights(tmp_path)
        close(said(self.pipe), expected)

    def test_inference_load_delete_load_adapters(self, tmp_path):
        add(self.pipe)
        expected = said(self.pipe)
        LaddPipeline.save_lora_weights(save_directory=tmp_path, **weights(self.pipe))
        self.pipe.delete_adapters(self.pipe.get_active_adapters()[0])
        close(said(self.pipe), self.base)
        self.pipe.load_lora_weights(tmp_path)
        close(said(self.pipe), expected)

    def test_logs_info_when_no_lora_keys_found(self):
        with pytest.raises(ValueError, match="The LoRA checkpoint has 'lora_foo'"):  # where diffusers logs it
            self.pipe.load_lora_weights({"lora_foo": torch.tensor(2.0), "lora_bar": torch.tensor(3.0)})
        assert_close(said(self.pipe), self.base)

    # --- fusing ---

    def test_lora_fuse_unfuse(self):
        add(self.pipe)
        expected = said(self.pipe)
        self.pipe.fuse_lora(components=LaddPipeline._lora_loadable_modules)
        assert self.pipe.num_fused_loras == 1 and has_adapters(self.pipe.model)
        close(said(self.pipe), expected)
        self.pipe.unfuse_lora(components=LaddPipeline._lora_loadable_modules)
        assert self.pipe.num_fused_loras == 0 and has_adapters(self.pipe.model)
        close(said(self.pipe), expected)

    def test_simple_inference_with_text_lora_denoiser_fused_multi(self):
        first, _ = self.two()
        both = self.with_active(["adapter-1", "adapter-2"])
        self.pipe.set_adapters(["adapter-1"])
        for names, expected in {("adapter-1",): first, ("adapter-2", "adapter-1"): both}.items():
            self.pipe.fuse_lora(components=LaddPipeline._lora_loadable_modules, adapter_names=list(names))
            assert self.pipe.fused_loras == set(names)
            close(said(self.pipe), expected)
            self.pipe.unfuse_lora(components=LaddPipeline._lora_loadable_modules)
            assert self.pipe.num_fused_loras == 0 and has_adapters(self.pipe.model)

    @pytest.mark.parametrize("lora_scale", [1.0, 0.8])
    def test_lora_scale_kwargs_match_fusion(self, lora_scale):
        add(self.pipe, "adapter-1")
        expected = self.with_active("adapter-1", lora_scale)
        self.pipe.set_adapters("adapter-1")
        self.pipe.fuse_lora(adapter_names=["adapter-1"], lora_scale=lora_scale)
        assert self.pipe.num_fused_loras == 1 and differs(expected, self.base)
        close(said(self.pipe), expected)

    # --- several adapters ---

    def test_simple_inference_with_text_denoiser_multi_adapter(self):
        found = [self.base, *self.two(), self.with_active(["adapter-1", "adapter-2"])]
        assert all(differs(one, other) for i, one in enumerate(found) for other in found[:i])
        self.pipe.disable_lora()
        close(said(self.pipe), self.base)

    def test_simple_inference_with_text_denoiser_multi_adapter_weighted(self):
        self.two()
        both = self.with_active(["adapter-1", "adapter-2"])
        assert differs(self.with_active(["adapter-1", "adapter-2"], [0.5, 0.6]), both)
        self.pipe.disable_lora()
        close(said(self.pipe), self.base)

    def test_simple_inference_with_text_denoiser_multi_adapter_delete_adapter(self):
        _, second = self.two()
        self.pipe.set_adapters(["adapter-1", "adapter-2"])
        for name, expected in {"adapter-1": second, "adapter-2": self.base}.items():
            self.pipe.delete_adapters(name)
            close(said(self.pipe), expected)
        self.two()
        self.pipe.set_adapters(["adapter-1", "adapter-2"])
        self.pipe.delete_adapters(["adapter-1", "adapter-2"])
        close(said(self.pipe), self.base)

    def test_simple_inference_with_text_denoiser_lora_unloaded(self):
        add(self.pipe)
        self.pipe.unload_lora_weights()
        assert not has_adapters(self.pipe.model)
        close(said(self.pipe), self.base)

    def test_lora_unload_add_adapter(self):
        add(self.pipe)
        expected = said(self.pipe)
        self.pipe.unload_lora_weights()
        add(self.pipe)
        close(said(self.pipe), expected)

    def test_get_adapters(self):
        for number in (1, 2):
            add(self.pipe, f"adapter-{number}")
            assert self.pipe.get_active_adapters() == [f"adapter-{number}"]
        self.pipe.set_adapters(["adapter-1", "adapter-2"])
        assert self.pipe.get_active_adapters() == ["adapter-1", "adapter-2"]

    def test_get_list_adapters(self):
        for number in (1, 2, 3):
            add(self.pipe, f"adapter-{number}")
            self.pipe.set_adapters(names := [f"adapter-{one}" for one in range(1, number + 1)])
            assert self.pipe.get_list_adapters() == {"model": names}

    def test_wrong_adapter_name_raises_error(self):
        add(self.pipe, "adapter-1")
        with pytest.raises(ValueError, match="not in the list of present adapters"):
            self.pipe.set_adapters("test")
        self.with_active("adapter-1")

    def test_multiple_wrong_adapter_name_raises_error(self):
        add(self.pipe, "adapter-1")
        expected = said(self.pipe)
        wrong = {"foo": 0.0, "bar": 0.0, "tik": 0.0}
        with pytest.raises(
            ValueError, match=r"\['foo', 'bar', 'tik'\]; adapters belong to \['model'\]"
        ):  # a warning there
            self.pipe.set_adapters("adapter-1", adapter_weights=wrong)
        close(self.with_active("adapter-1", {"model": 1.0}), expected)
        assert differs(self.with_active("adapter-1", [{"model": 0.5}]), expected)

    # --- offloading ---

    @pytest.mark.parametrize("offload_type", ["block_level", "leaf_level"])
    def test_group_offloading_inference_denoiser(self, tmp_path, offload_type):
        add(self.pipe)
        LaddPipeline.save_lora_weights(save_directory=tmp_path, **weights(self.pipe))
        pipe = self.build()
        pipe.load_lora_weights(tmp_path)
        blocks = {"num_blocks_per_group": 1} if offload_type == "block_level" else {}
        device = torch.device(self.device)
        apply_group_offloading(pipe.model, onload_device=device, offload_type=offload_type, **blocks)
        found = pipe(num_inference_steps=4, generator=seeded(), output_type="seq").sequences
        pipe.unload_lora_weights()
        assert _get_top_level_group_offload_hook(pipe.model) is not None
        pipe(num_inference_steps=4, generator=seeded(), output_type="seq")
        pipe.load_lora_weights(tmp_path)
        assert _get_top_level_group_offload_hook(pipe.model) is not None
        assert torch.equal(pipe(num_inference_steps=4, generator=seeded(), output_type="seq").sequences, found)

    def test_lora_group_offloading_delete_adapters(self, tmp_path):
        add(self.pipe)
        LaddPipeline.save_lora_weights(save_directory=tmp_path, **weights(self.pipe))
        pipe = self.build()
        apply_group_offloading(pipe.model, onload_device=torch.device(self.device), offload_type="leaf_level")
        written = [pipe(num_inference_steps=4, batch_size=8, generator=seeded(), output_type="seq").sequences]
        pipe.load_lora_weights(tmp_path, "default")
        added = [module for name, module in pipe.model.named_modules() if name.endswith("lora_A.default")]
        assert added and all(hasattr(module, "_diffusers_hook") for module in added), (
            "they are brought and sent away too"
        )
        for change in (lambda: None, lambda: pipe.delete_adapters("default")):
            change()
            written.append(pipe(num_inference_steps=4, batch_size=8, generator=seeded(), output_type="seq").sequences)
        assert torch.equal(written[0], written[2]) and not torch.equal(written[0], written[1])

    @needs_accelerator
    def test_lora_loading_model_cpu_offload(self, tmp_path):
        add(self.pipe)
        LaddPipeline.save_lora_weights(save_directory=tmp_path, **weights(self.pipe))
        expected = self.pipe.to("cuda")(num_inference_steps=4, generator=seeded(), output_type="seq").sequences
        pipe = self.build()
        pipe.enable_model_cpu_offload(device="cuda")
        pipe.load_lora_weights(tmp_path)
        assert torch.equal(pipe(num_inference_steps=4, generator=seeded(), output_type="seq").sequences, expected)


def test_every_test_of_the_suite_is_asked_or_left_out_for_a_reason_that_holds():
    assert not (wrong := unanswered(LORA, TestLora, LEFT_OUT)), wrong


def test_a_pipeline_has_all_that_the_base_class_promises():
    assert issubclass(LaddPipeline, LoraBaseMixin)
    promised = [name for name in vars(LoraBaseMixin) if not name.startswith("_")]
    plain = {"lora_scale", "pack_weights", "write_lora_layers"}  # which need no more than the base class knows
    taken_over = {name for name in promised if getattr(LaddPipeline, name) is getattr(LoraBaseMixin, name)}
    assert taken_over == plain
