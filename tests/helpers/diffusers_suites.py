"""The tests of diffusers' own suites, by name, and which of them are asked here.

As of diffusers 0.42.1 no distribution holds the suites: neither the wheel nor the source distribution, which has the
helper module of the tests alone. So tests of the same names ask the same of these pipelines and schedulers, in words of
their own. The names are those in diffusers' repository in the summer of 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

# tests/pipelines/testing_utils: `PipelineTesterMixin` and `MemoryTesterMixin`
PIPELINES = """
test_save_load_local test_output test_pipeline_call_signature test_inference_batch_consistent
test_inference_batch_single_identical test_dict_tuple_outputs_equivalent test_components_function
test_half_precision_inference_no_nan test_save_load_float16 test_save_load_optional_components test_to_device
test_to_dtype test_num_images_per_prompt test_cfg test_callback_inputs test_callback_cfg
test_serialization_with_variants test_loading_with_variants test_loading_with_incorrect_variants_raises_error
test_encode_prompt_works_in_isolation test_torch_dtype_dict test_sequential_cpu_offload_forward_pass
test_model_cpu_offload_forward_pass test_cpu_offload_forward_pass_twice test_sequential_offload_forward_pass_twice
test_pipeline_with_accelerator_device_map test_layerwise_casting_inference test_group_offloading_inference
test_pipeline_level_group_offloading_sanity_checks test_pipeline_level_group_offloading_inference
"""
# tests/schedulers/test_schedulers.py: `SchedulerCommonTest`
SCHEDULERS = """
test_from_save_pretrained test_compatibles test_from_pretrained test_step_shape test_scheduler_outputs_equivalence
test_scheduler_public_api test_add_noise_device test_deprecated_kwargs test_trained_betas test_getattr_is_correct
"""
# tests/pipelines/testing_utils/lora.py: `LoraTesterMixin`, `LoraMemoryTesterMixin` and `UNetLoraTesterMixin`
LORA = """
test_simple_inference_with_text_lora test_low_cpu_mem_usage_with_loading
test_simple_inference_with_text_lora_and_scale test_simple_inference_with_text_lora_unloaded
test_simple_inference_with_text_lora_save_load test_simple_inference_with_partial_text_lora
test_simple_inference_save_pretrained_with_text_lora test_simple_inference_with_text_denoiser_lora_save_load
test_simple_inference_with_text_denoiser_lora_and_scale test_lora_fuse_unfuse
test_simple_inference_with_text_denoiser_lora_unloaded test_simple_inference_with_text_denoiser_multi_adapter
test_wrong_adapter_name_raises_error test_multiple_wrong_adapter_name_raises_error
test_simple_inference_with_text_denoiser_multi_adapter_delete_adapter
test_simple_inference_with_text_denoiser_multi_adapter_weighted test_get_adapters test_get_list_adapters
test_simple_inference_with_text_lora_denoiser_fused_multi test_lora_scale_kwargs_match_fusion
test_logs_info_when_no_lora_keys_found test_set_adapters_match_attention_kwargs
test_lora_adapter_metadata_is_loaded_correctly test_lora_adapter_metadata_save_load_inference
test_lora_unload_add_adapter test_inference_load_delete_load_adapters test_group_offloading_inference_denoiser
test_lora_loading_model_cpu_offload test_lora_group_offloading_delete_adapters
test_simple_inference_with_text_denoiser_block_scale
test_simple_inference_with_text_denoiser_multi_adapter_block_lora
test_simple_inference_with_text_denoiser_block_scale_for_all_dict_options
"""


class LeftOut(NamedTuple):
    """Why a test is not asked here, and a check that this is still so: with it the test could not pass."""

    reason: str
    still: Callable[[], bool]


def unanswered(suite: str, asked: type, left_out: dict[str, LeftOut]) -> str:
    """Returns what is wrong with the division of a suite's tests into those of a class and those left out."""
    wanted = suite.split()
    own = [name for name in dir(asked) if name.startswith("test_")]
    wrong = [f"{name} is neither asked nor left out" for name in wanted if name not in {*own, *left_out}]
    wrong += [f"{name} is no test of the suite" for name in {*own, *left_out} if name not in wanted]
    wrong += [f"{name} is asked and left out" for name in own if name in left_out]
    wrong += [f"{name}: {one.reason!r} holds no more" for name, one in left_out.items() if not one.still()]
    return "\n".join(sorted(wrong))
