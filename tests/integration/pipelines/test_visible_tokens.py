"""Whatever is asked for, tokens that are visible at the start are the same at the end."""

from __future__ import annotations

import torch
from helpers.sampling import MASK, SCHEDULERS, seeded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PAD = 0

runs = st.fixed_dictionaries(
    {
        "num_steps": st.integers(2, 20),
        "temperature": st.sampled_from([0.0, 0.7, 1.0]),
        "top_p": st.sampled_from([0.5, 1.0]),
        "guidance_scale": st.sampled_from([1.0, 1.5]),
        "skip_idle_rows": st.booleans(),
        "stop_at_eos": st.booleans(),
        "suppress_tokens": st.sampled_from([None, [2, 3]]),
    }
)
ways = st.one_of(
    st.fixed_dictionaries({"unmasking": st.sampled_from(["first_hitting", "top_probability", "margin", "entropy"])}),
    st.fixed_dictionaries(
        {"remasking": st.fixed_dictionaries({"name": st.sampled_from(["cap", "rescale"]), "rate": st.floats(0.01, 1)})}
    ),
    st.just({}),
)
prompts = st.lists(st.lists(st.integers(1, MASK), min_size=1, max_size=12), min_size=1, max_size=4)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prompt=prompts,
    options=runs,
    way=ways,
    kind=st.sampled_from(["discrete", "continuous"]),
    schedule=st.sampled_from(sorted(SCHEDULERS)),
    spacing=st.sampled_from(["uniform", "cosine"]),
    extra=st.integers(0, 3),
    strength=st.sampled_from([None, 0.0, 0.5]),
)
def test_visible_tokens_are_never_changed(build, prompt, options, way, kind, schedule, spacing, extra, strength):
    pipe = build(kind, eos_token_id=5)
    pipe.scheduler = SCHEDULERS[schedule](timestep_spacing=spacing, **way)
    lengths = [min(12, len(ids) + extra) for ids in prompt]
    if strength is not None:
        options = {**options, "latents": pipe.encode([[1, 2, 3, 4]] * len(prompt)), "strength": strength}
    result = pipe(prompt, length=lengths, generator=seeded(), **options)
    for row, (ids, length) in enumerate(zip(prompt, lengths, strict=True)):
        written = result.sequences[row]
        visible = torch.tensor([token != MASK for token in ids])
        assert torch.equal(written[: len(ids)][visible], torch.tensor(ids)[visible])
        end = int(result.lengths[row])
        assert end <= length and (written[:end] < MASK).all() and (written[end:] == PAD).all()
