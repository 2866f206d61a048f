"""A run depends neither on the rows beside its own, to the last bit, nor on runs of other threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from helpers.sampling import KINDS, WITH_LATENTS, seeded

from ladd_hf.models.eval_mode import evaluation_mode

DTYPES = [torch.float32, torch.bfloat16]


def generators(rows):
    return [seeded(row) for row in rows]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_latents_are_the_same_to_the_bit_alone_and_in_any_batch(build, kind, scheduler, dtype):
    pipe = build(kind, scheduler)
    pipe.model.to(dtype)
    alone = [pipe(num_steps=6, generator=generators([row])) for row in range(5)]
    for rows in ([0, 1], [4, 2, 0], [3, 1, 0, 2, 4]):
        together = pipe(num_steps=6, batch_size=len(rows), generator=generators(rows))
        assert torch.equal(together.sequences, torch.cat([alone[row].sequences for row in rows]))
        assert torch.equal(together.latents, torch.cat([alone[row].latents for row in rows]))


@pytest.mark.parametrize("kind", KINDS)
def test_one_time_for_all_rows_is_embedded_once(stirred_model, kind):
    model, seen = stirred_model(kind, token_time_conditioning=True), []
    for name, module in model.named_modules():
        if name.endswith("time_embedding"):
            module.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    tokens = torch.full((3, 12), 10)
    latents = None if kind == "none" else model.encode_latents(torch.ones(3, 12, dtype=torch.int64))
    for times, rows in ((torch.rand(1), 1), (torch.rand(()), 1), (torch.rand(3), 3)):
        output = model(tokens, latents, token_timesteps=times, latent_timesteps=times)
        assert seen and set(seen) == {rows}
        seen.clear()
        each = model(tokens, latents, token_timesteps=times.expand(3), latent_timesteps=times.expand(3))
        torch.testing.assert_close(output.logits, each.logits)
        seen.clear()


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_runs_of_several_threads_on_one_pipeline_are_those_of_one_after_the_other(build, kind):
    """Of a model in training mode, whose dropout no run may see."""
    pipe = build(kind, "sequential", attention_dropout=0.5)
    pipe.model.train()
    budgets, start = [3, 40, 7, 40], Barrier(4)

    def run(number, wait):
        wait()
        together = pipe(num_steps=budgets[number], batch_size=2, generator=seeded(number))
        return together.sequences, together.latents, together.nfe

    serial = [run(number, lambda: None) for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            at_once = list(threads.map(lambda number: run(number, start.wait), range(4)))
            for (tokens, latents, nfe), (expected, latents_expected, nfe_expected) in zip(at_once, serial, strict=True):
                assert torch.equal(tokens, expected) and nfe == nfe_expected
                torch.testing.assert_close(latents, latents_expected)
            assert all(module.training for module in pipe.model.modules())


def test_the_last_to_leave_a_model_puts_its_modes_back(stirred_model):
    model = stirred_model("discrete").train()
    model.encoder.eval()
    modes = [module.training for module in model.modules()]
    first, second = evaluation_mode(model), evaluation_mode(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(module.training for module in model.modules())
    second.__exit__(None, None, None)
    assert [module.training for module in model.modules()] == modes


def test_a_callback_may_ask_the_pipeline_where_on_its_path_it_is(build, scheduler):
    pipe, times = build("discrete", scheduler), []
    pipe(
        num_steps=5,
        callback_on_step_end=lambda pipe, index, timestep, tensors: times.append(pipe.scheduler.times(timestep)) or {},
    )
    assert len(times) == pipe.scheduler.num_inference_steps == 5
    assert times[0] == (1, 1) and times[-1] < times[0]
