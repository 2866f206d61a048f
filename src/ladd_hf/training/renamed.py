"""Settings of earlier versions, and their replacements."""

from __future__ import annotations

from collections.abc import Iterable

_RENAMED = {
    "mdlm_steps": "`stages: [{name: mdlm, steps: ...}, ...]`",
    "stage_1_steps": "`stages: [{name: encoder, steps: ...}, prior]`",
    "latent_warmup_steps": "`stages: [{name: joint, ramps: {latent_loss_weight: {steps: ...}}}]`",
    "latent_warmup_delay": "`stages: [{name: joint, ramps: {latent_loss_weight: {steps: ..., delay: ...}}}]`",
    **{
        f"stage_1_{name}": f"`stages: [{{name: encoder, steps: ..., objective: {{{name}: ...}}}}, prior]`"
        for name in ("time_distribution", "fully_masked_share", "latent_dropout", "quantizer_dropout")
    },
}


def check_renamed(names: Iterable[str]) -> None:
    """Raises `ValueError` for the first name of a setting that no longer exists."""
    for name in names:
        if name in _RENAMED:
            raise ValueError(f"`{name}` is now a part of `stages`: give {_RENAMED[name]}.")
