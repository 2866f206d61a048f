"""The runs that dynamic programming finds are the best of all, and their bound is the bound."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
import pytest
from helpers.exact_denoiser import ExactDenoiser, random_table
from helpers.exact_losses import enumerated_run, exact_table

from ladd_hf import TimePath
from ladd_hf.diffusion.grid_runs import RunsByCost, RunsBySteps
from ladd_hf.diffusion.loss_table import LossTable
from ladd_hf.diffusion.masked_channels import DiscreteLatents, MaskedChannel
from ladd_hf.diffusion.noise_schedules import mask_schedule
from ladd_hf.diffusion.optimal_runs import OptimalRuns
from ladd_hf.diffusion.time_axes import TimeAxis


@pytest.fixture(scope="module", params=[False, True], ids=["tokens", "tokens and codes"])
def denoiser(request):
    return ExactDenoiser(random_table(), with_codes=request.param)


@pytest.fixture(scope="module")
def with_codes():
    return ExactDenoiser(random_table(), with_codes=True)


@lru_cache
def tables(denoiser):
    """Exact tables of two grids, the second of which has the points of the first."""
    return [exact_table(denoiser, cells) for cells in (2, 4)]


def table_at_random(cells=3, latents_first=False, seed=0):
    """Losses that follow no order at all."""
    axes = (
        TimeAxis.of(MaskedChannel(mask_schedule("linear"), 9), cells),
        TimeAxis.of(DiscreteLatents(mask_schedule("polynomial"), 9), cells),
    )
    losses = np.random.default_rng(seed).uniform(0.1, 2, (2, cells + 1, cells + 1))
    return LossTable(*axes, *losses, *np.zeros_like(losses), 4.0, 10, latents_first)


def all_runs(table, steps):
    """Every run of so many steps between the measured points, (t_x, t_y) each."""
    points = list(itertools.product(table.token_axis.measured_times, table.latent_axis.measured_times))
    first, last = points[0], points[-1]
    for inner in itertools.combinations(points[1:-1], steps - 1):
        run = [first, *inner, last]
        moves = list(itertools.pairwise(run))
        down = all(a[0] >= b[0] and a[1] >= b[1] for a, b in moves)
        pure = all(a[1] == b[1] == 0 if a[0] > b[0] else a[0] == 1 for a, b in moves)
        if down and (pure or not table.latents_first):
            yield run


def cost(run, latent_cost):
    return sum(1 if a[0] > b[0] else latent_cost for a, b in itertools.pairwise(run))


def on_grid(table, runs, budget):
    states = runs.states(budget)
    return [(table.token_axis.measured_times[i], table.latent_axis.measured_times[j]) for i, j in states]


# --- exact ---


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_run_is_the_best_of_all_on_the_grid_by_enumeration(denoiser, steps):
    table = exact_table(denoiser, 3)
    found = on_grid(table, RunsBySteps(table, parts=1), steps) if steps <= 3 or table.has_latents else None
    if found is None:
        return

    def bound(run):
        return sum(float(denoiser.table @ part) for part in enumerated_run(denoiser, run))

    assert table.bound(found).total_nats == pytest.approx(bound(found), rel=1e-6)  # the codes are scored in float32
    if steps <= 3:
        best = min(all_runs(table, steps), key=bound)
        assert bound(found) == pytest.approx(bound(best), rel=1e-6)
    best = min(table.bound(run).total_nats for run in all_runs(table, steps))
    assert table.bound(found).total_nats == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("latents_first", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [2, 3, 4])
def test_it_is_the_best_under_any_table(steps, seed, latents_first):
    table = table_at_random(2 + (steps < 4), latents_first, seed)
    found = on_grid(table, RunsBySteps(table, parts=1), steps)
    assert len(found) == steps + 1
    best = min(table.bound(run).total_nats for run in all_runs(table, steps))
    assert table.bound(found).total_nats == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("latents_first", [False, True])
@pytest.mark.parametrize("latent_cost", [0.3, 0.5, 1.6])
@pytest.mark.parametrize("seed", range(2))
def test_with_a_cost_it_is_the_best_that_can_be_paid(latent_cost, seed, latents_first):
    table = table_at_random(2, latents_first, seed)
    runs = RunsByCost(table, latent_cost, parts=1)
    every = [run for steps in range(1, 6) for run in all_runs(table, steps)]
    for budget in range(runs.least_budget, 4):
        found = on_grid(table, runs, budget)
        best = min(table.bound(run).total_nats for run in every if cost(run, latent_cost) <= budget + 1e-9)
        assert cost(found, latent_cost) <= budget + 1e-9
        assert table.bound(found).total_nats == pytest.approx(best, rel=1e-12)


def test_with_equal_costs_a_budget_is_a_number_of_steps(with_codes):
    table = exact_table(with_codes, 3)
    steps, costs = RunsBySteps(table, parts=1), RunsByCost(table, 1.0, parts=1)
    for budget in range(1, 5):
        bounds = [table.bound(on_grid(table, runs, budget)).total_nats for runs in (steps, costs)]
        assert bounds[0] == pytest.approx(bounds[1], rel=1e-12)


# --- order ---


def test_one_step_is_the_diagonal_and_latents_first_takes_two(with_codes):
    table = exact_table(with_codes, 3)
    assert OptimalRuns(table).run(1) == [(1, 1), (0, 0)]
    first = OptimalRuns(exact_table(with_codes, 3, latents_first=True))
    assert first.run(2) == [(1, 1), (1, 0), (0, 0)]
    assert all(TimePath(tuple(first.run(steps))).latents_first for steps in (2, 5, 40))
    with pytest.raises(ValueError, match="`num_steps` is 1, but the shortest run takes 2"):
        first.run(1)


def test_the_bound_falls_with_the_number_of_steps_and_ends_above_the_entropy(denoiser):
    runs = OptimalRuns(exact_table(denoiser, 4))
    bounds = [runs.table.bound(runs.run(steps)).total_nats for steps in range(1, 30)]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(bounds)) and bounds[0] > bounds[9] + 0.01
    assert bounds[-1] > -float(denoiser.table @ denoiser.table.log()) - 1e-3  # of interpolation


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_it_is_never_worse_than_joint_or_sequential_on_the_same_grid(with_codes, steps):
    table = exact_table(with_codes, 4)
    best = table.bound(on_grid(table, RunsBySteps(table, parts=1), steps)).total_nats
    joint = [run for run in all_runs(table, steps) if all((x == 1) == (y == 1) for x, y in run)]
    sequential = [run for run in all_runs(table, steps) if all(x == 1 or y == 0 for x, y in run)]
    assert len(joint) + len(sequential) > 0
    assert all(best <= table.bound(run).total_nats + 1e-12 for run in [*joint, *sequential])


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_a_finer_grid_is_never_worse_under_the_exact_losses(denoiser, steps):
    bounds = []
    for table in tables(denoiser):
        states = RunsBySteps(table, parts=1).states(steps)
        if states is not None:
            bounds.append(table.bound(on_grid(table, RunsBySteps(table, parts=1), steps)).total_nats)
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(bounds)) and len(bounds) >= 1


def test_between_measured_points_the_bound_is_close_to_the_exact_one(denoiser):
    table = exact_table(denoiser, 6)
    for steps in (2, 3, 6):
        run = OptimalRuns(table).run(steps)
        exact = sum(float(denoiser.table @ part) for part in enumerated_run(denoiser, run))
        assert table.bound(run).total_nats == pytest.approx(exact, rel=2e-3)
        coarse = table.bound(on_grid(table, RunsBySteps(table, parts=1), steps)).total_nats
        assert table.bound(run).total_nats <= coarse + 1e-12


# --- any budget ---


@pytest.mark.parametrize("steps", [33, 64, 150])
def test_a_run_has_exactly_its_steps_even_if_the_grid_is_smaller(denoiser, steps):
    runs = OptimalRuns(exact_table(denoiser, 2))
    run = runs.run(steps)
    assert len(run) == steps + 1
    TimePath(tuple(run)) if denoiser.latent_channel else None  # raises for what is no path
    assert all(a[0] > b[0] or a[1] > b[1] for a, b in itertools.pairwise(run))


def test_any_table_gives_runs_of_exactly_their_steps():
    runs = OptimalRuns(table_at_random())
    assert [len(runs.run(steps)) - 1 for steps in (1, 5, 30, 80)] == [1, 5, 30, 80]


def test_a_budget_of_costs_is_kept_and_the_bound_falls_with_it():
    table = table_at_random(latents_first=True)
    runs = OptimalRuns(table, latent_cost=0.25)
    found = [runs.run(budget) for budget in range(2, 40)]
    assert all(cost(run, 0.25) <= budget + 1e-9 for budget, run in zip(range(2, 40), found, strict=True))
    bounds = [table.bound(run).total_nats for run in found]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(bounds))
    assert any(len(run) - 1 > budget for budget, run in zip(range(2, 40), found, strict=True))


def test_what_is_solved_does_not_depend_on_what_was_asked_before(with_codes):
    table = exact_table(with_codes, 3)
    once = OptimalRuns(table)
    for steps in (30, 3, 20, 7):
        assert once.run(steps) == OptimalRuns(table).run(steps)


# --- given latents ---


@pytest.mark.parametrize("time", [0.0, 0.4])
def test_latents_may_start_at_any_time(with_codes, time):
    table = exact_table(with_codes, 3).from_latent_time(time)
    assert table.has_latents == (time > 0)
    for steps in (1, 2, 3):
        run = OptimalRuns(table).run(steps)
        assert run[0] == (1, pytest.approx(time)) and run[-1] == (0, 0) and len(run) == steps + 1
        best = min(table.bound(one).total_nats for one in all_runs(table, steps))
        assert table.bound(run).total_nats <= best + 1e-12
