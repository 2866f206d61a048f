"""Named stages: the paper's `encoder` and `prior`, `joint`, and ours: `mdlm`, `consistency`, `meanflow`. Section 6."""

from __future__ import annotations

from .stages import SETTINGS, Ramp, Stage, register_stage

# The settings of a stage that trains the tokens alone; all others concern latents.
_OF_TOKENS = (
    *("token_weighting", "token_loss_weight", "min_time", "adaptive_times"),
    *("consistency_weight", "consistency_min_jump", "consistency_max_jump", "consistency_teacher"),
)
# Terms that shape the encoder end where it is fixed.
_OF_THE_ENCODER = (
    *("encoder_corruption", "encoder_mask_ratio", "encoder_noise", "contrastive_weight", "latent_kl_weight"),
    *("quantizer_dropout", "latent_noise_time", "latent_mask_share", "latent_replacement_share"),
)

register_stage(
    Stage(
        "mdlm",
        objective={name: value for name, value in SETTINGS.items() if name not in _OF_TOKENS} | {"tokens_alone": True},
    )
)
register_stage(
    Stage(
        "encoder",
        objective={
            "latent_loss_weight": 0.0,
            "time_distribution": "tokens",
            **dict.fromkeys(("fully_masked_share", "latent_dropout", "quantizer_dropout", "meanflow_share"), 0.0),
        },
        ramps={"quantizer_dropout": Ramp(1.0, 0.0)},  # the prior is trained on rounded codes
        restart_average=True,
    )
)
register_stage(Stage("joint", restart_average=True))
_AFTER_THE_ENCODER = {"prior": {}, "consistency": {"consistency_weight": 1.0}, "meanflow": {"meanflow_share": 0.75}}
for _name, _own in _AFTER_THE_ENCODER.items():
    register_stage(
        Stage(
            _name,
            objective={**dict.fromkeys(_OF_THE_ENCODER, 0.0), **_own},
            freeze=("encoder",),
            from_average=("encoder",),
        )
    )
