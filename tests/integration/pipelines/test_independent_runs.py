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


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_callbacks_of_several_threads_change_the_guidance_of_their_own_run(build, kind):
    """All at once: each waits for the others after every step, and then sets a scale of its own for the next."""
    pipe = build(kind)
    each_step = Barrier(4, timeout=60)

    def run(number, wait):
        seen = []

        def callback(pipe, index, timestep, tensors):
            wait()
            seen.append((pipe.num_timesteps, pipe.guidance_scale, pipe.interrupt))
            pipe.guidance_scale = float(number * (index + 1))
            wait()
            if number == 3 and index == 4:
                pipe._interrupt = True
            wait()

        found = pipe(num_steps=6, batch_size=10, generator=seeded(number), callback_on_step_end=callback)
        return seen, found.nfe, found.sequences, found.latents

    serial = [run(number, lambda: None) for number in range(4)]
    assert [nfe for _, nfe, *_ in serial] == [6, 6, 6, 5] and not torch.equal(serial[1][2], serial[2][2])

    def alongside(number):
        found = run(number, each_step.wait)
        for _ in range(3 * (6 - found[1])):  # the others go on
            each_step.wait()
        return found

    with ThreadPoolExecutor(4) as threads:
        at_once = list(threads.map(alongside, range(4)))
    for (seen, nfe, tokens, latents), expected in zip(at_once, serial, strict=True):
        assert (seen, nfe) == expected[:2] and torch.equal(tokens, expected[2])
        assert latents is expected[3] is None or torch.equal(latents, expected[3])


def test_a_thread_that_runs_nothing_reads_the_latest_run_and_ends_all_that_are_in_progress(build):
    pipe, begun, told = build("discrete"), Barrier(3, timeout=60), Barrier(3, timeout=60)

    def run(number):
        def callback(pipe, index, timestep, tensors):
            if index == 1:
                begun.wait()
                told.wait()

        return pipe(num_steps=4 + number, generator=seeded(number), callback_on_step_end=callback).nfe

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(run, number) for number in range(2)]
        begun.wait()
        assert pipe.num_timesteps in (4, 5) and not pipe.interrupt
        pipe._interrupt = True
        told.wait()
        assert [one.result() for one in running] == [2, 2] and pipe.interrupt
    assert pipe(num_steps=4).nfe == 4


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
