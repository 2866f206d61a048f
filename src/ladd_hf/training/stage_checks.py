"""Checks of stages in a run of a known length, and in a resumed run."""

from __future__ import annotations

from collections.abc import Sequence

from .stage_plan import StagePlan


def check_prior_is_trained(plan: StagePlan, length: str) -> None:
    """Raises `ValueError` if a run ends before the prior over its latents is trained.

    Args:
        plan: its stages, at the length of the run.
        length: of the run, in words.
    """
    trains = [one.latent_loss_weight > 0 and not one.tokens_alone for one in plan.objectives()]
    if not any(trains):
        raise ValueError(
            f"None of the `stages` {', '.join(repr(stage.name) for stage in plan.stages)} trains a prior over the "
            "latents: add 'prior' or 'joint', or give `latent_loss_weight` 0, if none is to be trained."
        )
    num_steps = plan.length.steps
    for number, start in enumerate(plan.starts):
        end = min([*plan.starts[number + 1 : number + 2], num_steps])
        weights = [plan.objective_at(step).latent_loss_weight for step in (start, end - 1)]  # a ramp is largest at one
        if trains[number] and start < end and any(weights):
            return
    first = trains.index(True)
    before = ", ".join(f"{stage.name!r} {plan.stated(stage)}" for stage in plan.stages[:first])
    if plan.starts[first] >= num_steps:
        has, ends = before, f"the stage {plan.stages[first].name!r}, in which the latents are learnt"
    else:
        ramp = plan.stages[first].ramps["latent_loss_weight"]
        over = "the whole stage" if ramp.steps is None else f"`steps` {ramp.steps:g}"
        has = f"a ramp of `latent_loss_weight` over {over} with `delay` {ramp.delay:g}"
        has = f"{before}, then {has}" if before else has
        ends = "the latents' weight w_y rises above 0"
    raise ValueError(
        f"`stages` has {has}, but {length} ends before {ends}: give fewer steps to what comes before, a share of the "
        "run below 1, or more steps in all; or `latent_loss_weight` 0, if no prior over latents is to be trained."
    )


def check_fixed_before_prior(plan: StagePlan, reason: str) -> None:
    """Raises `ValueError` if a stage trains the prior over latents together with the encoder.

    Args:
        plan: the stages.
        reason: the setting and what of it is gathered in the outputs of a fixed encoder, in words.
    """
    for number, (stage, objective) in enumerate(zip(plan.stages, plan.objectives(), strict=True)):
        if "encoder" not in (stage.freeze or ()) and objective.latent_loss_weight > 0 and not objective.tokens_alone:
            raise ValueError(
                f"{reason} once the encoder is fixed, but `stages[{number}]`, {stage.name!r}, trains it together with "
                "the prior over latents: give `stages` "
                "[{'name': 'encoder', 'steps': ...}, 'prior']."
            )


def check_latents_alone_are_trained(plan: StagePlan) -> None:
    """Raises `ValueError` if latents that are predicted without tokens, while all of these are masked, are trained, but
    never so."""
    trains = [one for one in plan.objectives() if one.latent_loss_weight > 0 and not one.tokens_alone]
    if trains and not any(one.draws_masked_texts for one in trains):
        raise ValueError(
            "The model `skips_masked_tokens`, but no stage trains its latents while all tokens are masked: give "
            "`time_distribution` 'sequential', alone or joined to others by '+', or a `fully_masked_share`."
        )


def check_stages_kept(plan: StagePlan, step: int, before: Sequence[tuple[str, int]]) -> None:
    """Raises `ValueError` if the settings, or shares of a resumed run's new length, would put past steps into other
    stages.

    Args:
        plan: the stages of the resumed run.
        step: number of steps made so far.
        before: the names of its earlier stages, and their numbers of steps.
    """
    now = plan.lengths()
    for place, ((_, made), (name, steps)) in enumerate(zip(before[:-1], now[:-1], strict=False)):
        if min(made, step) != min(steps, step):
            raise ValueError(
                f"`stages[{place}]`, {name!r}, has {plan.stated(plan.stages[place])}, and had {made:,} steps of the "
                f"resumed run and would have {steps:,} of its new length, but {step:,} steps are trained already: "
                f"give it `steps` {made}."
            )
