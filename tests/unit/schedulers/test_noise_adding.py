"""A prompt stays visible where noise is added to its text."""

from __future__ import annotations

import pytest
import torch
from helpers.scheduler_steps import rows

MASK = 10


@pytest.mark.parametrize("shape", ["of each row", "of all rows"])
def test_a_prompt_stays_visible_and_all_else_is_masked_as_without_it(scheduler_class, scheduler_for, shape):
    scheduler, clean = scheduler_for(scheduler_class, "none"), torch.full((50, 12), 4)
    prompt = torch.rand(50, 12, generator=torch.Generator().manual_seed(0)) < 0.3
    prompt = prompt if shape == "of each row" else prompt[0]
    times = torch.rand(50, generator=torch.Generator().manual_seed(1))
    plain = scheduler.add_noise(clean, times, rows(50))
    noisy = scheduler.add_noise(clean, times, rows(50), prompt_mask=prompt)
    everywhere = prompt.expand(50, 12)
    assert (noisy[everywhere] == 4).all() and (plain[everywhere] == MASK).any()
    assert torch.equal(noisy[~everywhere], plain[~everywhere])
    assert torch.equal(scheduler.add_noise(clean, 1.0, rows(50), prompt) == MASK, ~everywhere)


@pytest.mark.parametrize(
    "prompt",
    [torch.ones(2, 5), torch.ones(2, 4, dtype=torch.bool), torch.ones(1, 5, dtype=torch.bool), 3, [True] * 5],
    ids=str,
)
def test_a_mask_that_does_not_fit_the_tokens_is_refused(scheduler_class, scheduler_for, prompt):
    with pytest.raises(ValueError, match=r"`prompt_mask` (is|has) .*; give a bool tensor of shape \(2, 5\) or \(5,\)"):
        scheduler_for(scheduler_class, "none").add_noise(torch.ones(2, 5).long(), 0.5, prompt_mask=prompt)
