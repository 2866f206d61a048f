"""Checks for FSDP and DeepSpeed settings under which weights cannot be averaged, evaluated, saved or resumed."""

from __future__ import annotations

from typing import Any

from transformers.integrations import is_deepspeed_zero3_enabled


def check_resuming(accelerator: Any) -> None:
    """Raises `ValueError` under FSDP, whose sharded optimiser state cannot be restored from a checkpoint.

    As of accelerate 1.15.0 it is read strictly, and a parameter that no step has moved yet has no state: one of a later
    stage, or of a part that takes no part in the loss.
    """
    if getattr(accelerator.state, "fsdp_plugin", None) is not None:
        raise ValueError(
            "A run under FSDP cannot be resumed: torch does not put its optimiser back together. Go on from the saved "
            "weights in a new run, or train without FSDP where a run must be resumed."
        )


def check_sharding(accelerator: Any, stages: bool = False, wrapped: bool = False) -> None:
    """Raises `ValueError` for kinds of sharding under which weights cannot be averaged, evaluated or saved.

    Args:
        accelerator: accelerate's.
        stages: true if an encoder is fixed, or unused, for a part of the run.
        wrapped: true if the model is wrapped by `get_peft_model`.
    """
    if is_deepspeed_zero3_enabled():
        raise ValueError(
            "DeepSpeed's ZeRO-3 takes the weights apart where their average and the bound cannot reach them: use "
            "ZeRO-2 (`zero_stage: 2`), or FSDP2."
        )
    if stages and getattr(accelerator.state, "deepspeed_plugin", None) is not None:
        raise ValueError(
            "DeepSpeed's optimiser goes on moving an encoder that is fixed during a run: train in one stage "
            "(no `stages`), or in several under FSDP2 or on whole weights (DDP)."
        )
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        return
    if wrapped:
        raise ValueError(
            "FSDP shards the wrapper of `get_peft_model`, past which the bound is computed: adapt the model itself, "
            "`model.add_adapter(config)`."
        )
    if plugin.fsdp_version != 2:
        raise ValueError(
            "FSDP of version 1 flattens the weights, which cannot be averaged or evaluated so: set `fsdp_version: 2`."
        )
    if "FULL_STATE_DICT" not in str(plugin.state_dict_type):
        raise ValueError(
            f"FSDP's state dict type is {plugin.state_dict_type}, under which no whole model is saved: set "
            "`fsdp_state_dict_type: FULL_STATE_DICT`."
        )
