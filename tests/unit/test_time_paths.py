"""Paths of the time square: where they pass, how fast, and the grids that sampling lays on them."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch

from ladd_hf import TimePath
from ladd_hf.diffusion.paths import TIME_PATHS, TIMESTEP_SPACINGS, path_data, path_name, time_path

BENT = TimePath(((1, 1), (0.8, 0.3), (0.2, 0.3), (0, 0)))
PATHS = {**dict(TIME_PATHS.items()), "bent": BENT}


@pytest.fixture(params=sorted(PATHS))
def path(request):
    return PATHS[request.param]


def positions(count=1000):
    return torch.linspace(0, 1, count + 1, dtype=torch.float64)


def lies_on(path, point):
    """True if a point is on one of the straight pieces: the way over it is not longer than the piece."""
    return any(
        math.isclose(math.dist(a, point) + math.dist(point, b), math.dist(a, b), abs_tol=1e-12)
        for a, b in zip(path.vertices, path.vertices[1:], strict=False)
    )


# --- points ---


def test_positions_run_along_the_path_from_its_clean_end_to_its_noisy_end(path):
    t_x, t_y, _, _ = path.at(positions())
    assert (t_x[0], t_y[0]) == (0, 0)
    assert (float(t_x[-1]), float(t_y[-1])) == path.vertices[0]
    assert all(lies_on(path, point) for point in zip(t_x.tolist(), t_y.tolist(), strict=True))
    assert (t_x.diff() >= 0).all() and (t_y.diff() >= 0).all()


def test_every_leg_takes_an_equal_share_of_the_positions(path):
    corners = torch.linspace(0, 1, len(path.legs) + 1, dtype=torch.float64)
    t_x, t_y, _, _ = path.at(corners)
    points = torch.stack([t_x, t_y], dim=1)
    torch.testing.assert_close(points, torch.tensor(path.vertices[::-1], dtype=torch.float64))


def test_rates_are_how_fast_the_times_pass(path):
    where, step = torch.tensor([0.013, 0.27, 0.41, 0.6, 0.77, 0.95], dtype=torch.float64), 1e-6
    before, after = path.at(where - step), path.at(where + step)
    rates = path.at(where)[2:]
    for i in range(2):
        torch.testing.assert_close((after[i] - before[i]) / (2 * step), rates[i], rtol=1e-6, atol=1e-9)


def test_rates_integrate_to_the_time_that_passes(path):
    middles = positions(1200)[:-1] + 0.5 / 1200
    _, _, token_rate, latent_rate = path.at(middles)
    assert float(token_rate.mean()) == pytest.approx(path.vertices[0][0])
    assert float(latent_rate.mean()) == pytest.approx(path.vertices[0][1])
    assert (token_rate >= 0).all() and (latent_rate >= 0).all()


def test_joint_is_the_diagonal():
    t_x, t_y, token_rate, latent_rate = time_path("joint").at(positions())
    assert torch.equal(t_x, t_y) and torch.equal(t_x, positions())
    assert (token_rate == 1).all() and (latent_rate == 1).all()


def test_sequential_moves_one_time_while_the_other_stands_at_its_end():
    t_x, t_y, token_rate, latent_rate = time_path("sequential").at(positions()[:-1])
    tokens_move, latents_move = token_rate > 0, latent_rate > 0
    assert (tokens_move ^ latents_move).all()
    assert (t_y[tokens_move] == 0).all()  # tokens are written from clean latents
    assert (t_x[latents_move] == 1).all()  # latents are written before any token


def test_with_given_latents_their_time_is_clean_throughout():
    t_x, t_y, token_rate, latent_rate = time_path("tokens").at(positions())
    assert torch.equal(t_x, positions())
    assert (t_y == 0).all() and (latent_rate == 0).all() and (token_rate == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_times_keep_the_precision_of_the_positions(path, dtype):
    assert {value.dtype for value in path.at(torch.tensor([0.2, 0.7], dtype=dtype))} == {dtype}


# --- grids ---


@pytest.mark.parametrize("spacing", sorted(TIMESTEP_SPACINGS))
def test_a_grid_walks_every_leg_in_its_steps_and_ends_clean(path, spacing):
    steps = [2 + leg for leg in range(len(path.legs))]
    grid = path.grid(steps, spacing)
    assert len(grid) == sum(steps) + 1
    assert grid[0] == path.vertices[0] and grid[-1] == (0, 0)
    done = 0
    for leg, corner in enumerate(path.vertices[1:]):
        done += steps[leg]
        assert grid[done] == corner
    assert all(lies_on(path, point) for point in grid)


@pytest.mark.parametrize("spacing", sorted(TIMESTEP_SPACINGS))
def test_no_time_rises_on_a_grid_and_every_step_moves(path, spacing):
    grid = path.grid([5] * len(path.legs), spacing)
    for (t_x, t_y), (s_x, s_y) in itertools.pairwise(grid):
        assert s_x <= t_x and s_y <= t_y and (s_x, s_y) != (t_x, t_y)


@pytest.mark.parametrize("spacing", sorted(TIMESTEP_SPACINGS))
def test_one_step_per_leg_goes_from_corner_to_corner(path, spacing):
    assert path.grid([1] * len(path.legs), spacing) == list(path.vertices)


def test_a_uniform_grid_has_steps_of_equal_length():
    times = torch.tensor(time_path("joint").grid([8]), dtype=torch.float64)
    torch.testing.assert_close(times.diff(dim=0), torch.full((8, 2), -1 / 8, dtype=torch.float64))


def test_a_cosine_grid_reveals_little_while_little_is_known_and_most_at_the_end():
    times = torch.tensor(time_path("joint").grid([8], "cosine"), dtype=torch.float64)[:, 0]
    expected = torch.cos(math.pi / 2 * torch.arange(9, dtype=torch.float64) / 8)
    torch.testing.assert_close(times, expected)
    assert (-times.diff()).diff().gt(0).all()


# --- what is refused ---


@pytest.mark.parametrize(
    "vertices",
    [
        (),
        ((1, 1),),
        ((0, 0),),
        ((1, 1), (0, 0.5)),  # does not end clean
        ((1, 1), (0.5, 0.5)),
        ((0, 1), (0, 0)),  # tokens do not start as noise
        ((0.5, 0.5), (0, 0)),
        ((1, 1.5), (0, 0)),
        ((1, -0.5), (0, 0)),
        ((0, 0), (1, 1)),  # the wrong way round
        ((1, 1), (0.5, 0.2), (0.6, 0), (0, 0)),  # tokens' time rises
        ((1, 1), (0.5, 0.2), (0.4, 0.3), (0, 0)),  # latents' time rises
        ((1, 0), (0.5, 0.5), (0, 0)),
        ((1, 1), (0.5, 0.5), (0.5, 0.5), (0, 0)),  # a leg that goes nowhere
        ((1, 1), (1, 1), (0, 0)),
        ((1, 1), (float("nan"), 0.5), (0, 0)),
        ((1, 1), (-0.5, 0), (0, 0)),
    ],
    ids=str,
)
def test_polylines_that_are_no_path_from_noise_to_clean_are_refused(vertices):
    with pytest.raises(ValueError, match="is not accepted"):
        TimePath(vertices)


STAIRS = ((1, 1), (1, 0.6), (0.5, 0.3), (0, 0))


@pytest.mark.parametrize(
    ("vertices", "time", "expected", "steps"),
    [
        (((1, 1), (0, 0)), 0.5, ((1, 0.5), (0, 0)), [2]),
        (((1, 1), (1, 0), (0, 0)), 0.5, ((1, 0.5), (1, 0), (0, 0)), [2, 3]),
        (STAIRS, 1.0, STAIRS, [2, 3, 4]),
        (STAIRS, 0.8, ((1, 0.8), (1, 0.6), (0.5, 0.3), (0, 0)), [2, 3, 4]),
        (STAIRS, 0.5, ((1, 0.5), (0.5, 0.3), (0, 0)), [5, 4]),
        (STAIRS, 0.2, ((1, 0.2), (0.5, 0.2), (0, 0)), [5, 4]),
    ],
    ids=str,
)
def test_a_path_from_latents_with_less_noise_never_exceeds_it_and_keeps_all_steps(vertices, time, expected, steps):
    path, shared = TimePath(vertices).starting_at(time, [2, 3, 4][: len(vertices) - 1])
    assert path.vertices == expected and shared == steps


def test_an_unknown_path_or_spacing_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"joint.*sequential.*tokens"):
        time_path("diagonal")
    with pytest.raises(ValueError, match=r"cosine.*uniform"):
        time_path("joint").grid([4], "quadratic")


@pytest.mark.parametrize("steps", [[], [2], [1, 1, 1]])
def test_a_grid_needs_a_number_of_steps_for_every_leg(steps):
    with pytest.raises(ValueError):
        time_path("sequential").grid(steps)


def test_a_path_is_accepted_in_place_of_its_name():
    assert time_path(BENT) is BENT
    assert time_path("joint") == TimePath(((1, 1), (0, 0)))


def test_a_path_can_be_given_as_data_and_read_back():
    bent = time_path([[1, 1], [1, 0.3], [0, 0]])
    assert bent == TimePath(((1, 1), (1, 0.3), (0, 0))) and path_data(bent) == [[1.0, 1.0], [1.0, 0.3], [0.0, 0.0]]
    assert path_data([[1, 1], [1, 0], [0, 0]]) == "sequential" and path_data("joint") == "joint"
    for path in PATHS.values():
        assert time_path(json.loads(json.dumps(path_data(path)))) == path


@pytest.mark.parametrize("wrong", [[1, 1], [[1, 1, 1], [0, 0]], [], ["11", "00"], [[0, 0], [1, 1]], 3, None])
def test_data_that_makes_no_path_is_refused(wrong):
    with pytest.raises(ValueError, match="give"):
        time_path(wrong)


def test_corners_can_be_a_string_of_json_and_what_is_none_is_refused():
    assert time_path("[[1, 1], [1, 0.3], [0, 0]]") == TimePath(((1, 1), (1, 0.3), (0, 0)))
    with pytest.raises(ValueError, match="is no JSON; give corners"):
        time_path("[[1, 1], [0, 0]")


def test_a_path_has_one_short_name_however_it_is_given():
    given = ("joint", [[1, 1], [0, 0]], "[[1, 1], [0, 0]]", time_path("joint"))
    assert {path_name(one) for one in given} == {"joint"}
    assert path_name([[1, 1], [1, 0.3], [0, 0]]) == path_name([[1.0, 1], [1, 0.30], [0, 0.0]]) == "1-1_1-0.3_0-0"
