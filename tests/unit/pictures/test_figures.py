"""Figures show the numbers that they are given, read back from what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.missing_packages import hide

from ladd_hf.diffusion.loss_table import LossTable
from ladd_hf.diffusion.masked_channels import DiscreteLatents, MaskedChannel
from ladd_hf.diffusion.noise_schedules import mask_schedule
from ladd_hf.diffusion.paths import JOINT, SEQUENTIAL
from ladd_hf.diffusion.time_axes import TimeAxis
from ladd_hf.metrics import usage_of_codes
from ladd_hf.pictures import code_usage_figure, latents_figure, loss_figure, time_square_figure
from ladd_hf.pictures.projection import principal_plane
from ladd_hf.schedulers import LaddTunedScheduler

RANDOM = np.random.default_rng(0)


def table(latents=True, latents_first=False):
    """Losses of a model with 4 tokens and a codebook of 9, all different."""
    axis = TimeAxis.of(MaskedChannel(mask_schedule("linear"), 10), 4)
    others = TimeAxis.of(DiscreteLatents(mask_schedule("linear"), 9), 3) if latents else TimeAxis.clean()
    shape = len(axis.measured), len(others.measured)
    losses = [RANDOM.uniform(1, 2, shape) for _ in range(4)]
    return LossTable(axis, others, *losses, num_tokens=4.0, num_texts=7, latents_first=latents_first)


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_the_time_square_holds_the_tables_losses_per_token_and_its_paths():
    losses = table()
    run = LaddTunedScheduler(losses).run(3)
    figure = time_square_figure(losses, {"joint": JOINT.vertices, "sequential": SEQUENTIAL.vertices}, {"N = 3": run})
    figure.canvas.draw()
    for axes, values in zip(figure.axes[:2], (losses.token_losses, losses.latent_losses), strict=True):
        (mesh,) = axes.collections
        assert np.allclose(mesh.get_array(), values.T / 4) and not np.ma.is_masked(mesh.get_array())
        drawn = lines(axes)
        assert np.allclose(drawn["N = 3"].get_xydata(), run)
        assert np.allclose(drawn["joint"].get_xydata(), [(1, 1), (0, 0)])
        assert np.allclose(drawn["sequential"].get_xydata(), [(1, 1), (1, 0), (0, 0)])
        # the cell of each point holds it
        corners = mesh.get_coordinates()
        t_x, t_y = losses.token_axis.measured_times, losses.latent_axis.measured_times
        assert (corners[0, :-1, 0] >= t_x).all() and (t_x >= corners[0, 1:, 0]).all()
        assert (corners[:-1, 0, 1] >= t_y).all() and (t_y >= corners[1:, 0, 1]).all()
    assert [one.get_text() for one in figure.legends[0].get_texts()] == ["joint", "sequential", "N = 3"]


def test_points_that_no_run_visits_are_blank():
    figure = time_square_figure(table(latents_first=True))
    tokens, latents = (axes.collections[0].get_array().mask for axes in figure.axes[:2])
    assert tokens[:-1].all() and not tokens[-1].any()  # by t_y, of which the last is 0
    assert latents[:, 1:].all() and not latents[:, 0].any()  # by t_x, of which the first is 1
    assert not figure.legends


def test_without_latents_the_square_is_a_curve():
    losses = table(latents=False)
    (axes,) = time_square_figure(losses, runs={"two": [(1.0, 0.0), (0.5, 0.0), (0.0, 0.0)]}).axes
    container = axes.containers[0]
    assert np.allclose(container[0].get_xdata(), losses.token_axis.measured_times)
    assert np.allclose(container[0].get_ydata(), losses.token_losses[:, 0] / 4)
    ends = np.array(container[2][0].get_segments())
    assert np.allclose(ends[:, 1, 1] - ends[:, 0, 1], 2 * losses.token_errors[:, 0] / 4)
    assert lines(axes)["two"].get_xdata().tolist() == [1, 0.5]  # where the model is evaluated


def test_frequencies_of_codes_fall_and_end_where_codes_are_dead():
    codes = np.array([[0, 1], [0, 1], [0, 2], [3, 1]])
    (axes,) = code_usage_figure(codes, 6).axes
    usage = usage_of_codes(codes, 6)
    found = {name.split(":")[0]: line for name, line in lines(axes).items()}
    assert found["all positions"].get_ydata().tolist() == [3 / 8, 3 / 8, 1 / 8, 1 / 8]
    assert found["position 0"].get_ydata().tolist() == found["position 1"].get_ydata().tolist() == [3 / 4, 1 / 4]
    assert axes.get_title() == "4 of 6 codes used, 2 dead (4 texts)" and usage.dead == 2
    assert f"perplexity {usage.perplexity.value:.1f}" in found["all positions"].get_label()
    assert found["all codes alike"].get_ydata()[0] == 1 / 6


def test_many_positions_are_drawn_and_the_ends_named():
    codes = RANDOM.integers(0, 4, (30, 9))
    (axes,) = code_usage_figure(codes, 4).axes
    assert len(axes.lines) == 9 + 2
    named = [one.get_text() for one in axes.get_legend().get_texts()]
    assert [name.split(":")[0] for name in named] == ["position 0", "position 8", "all positions", "all codes alike"]


def test_the_plane_keeps_distances_of_vectors_in_it_and_orders_variances():
    flat = RANDOM.normal(size=(20, 2)) * (3, 1)
    turn, _ = np.linalg.qr(RANDOM.normal(size=(5, 5)))
    plane = principal_plane(flat @ turn[:2] + 7)
    assert sum(plane.shares) == pytest.approx(1) and plane.shares[0] > plane.shares[1]
    between = [np.linalg.norm(points[:, None] - points, axis=-1) for points in (flat, plane.points)]
    assert np.allclose(*between)
    assert np.allclose(plane.points.mean(0), 0) and abs(np.cov(plane.points.T)[0, 1]) < 1e-9


def test_weights_count_as_repetitions_do():
    vectors, times = RANDOM.normal(size=(5, 3)), np.array([1, 0, 3, 2, 1])
    repeated = principal_plane(np.repeat(vectors, times, 0))
    weighted = principal_plane(vectors, times)
    assert np.allclose(weighted.shares, repeated.shares)
    assert np.allclose(np.repeat(weighted.points, times, 0), repeated.points)


def test_a_plane_of_numbers_is_a_line():
    plane = principal_plane(np.array([[1.0], [3.0], [5.0]]))
    assert np.allclose(plane.points, [[-2, 0], [0, 0], [2, 0]]) and plane.shares == (1, 0)
    assert principal_plane(np.ones((3, 2))).shares == (0, 0)


@pytest.mark.parametrize(
    ("vectors", "weights", "said"),
    [
        (np.zeros((1, 3)), None, "give two or more"),
        (np.zeros(4), None, "shape (4,)"),
        (np.array([[1.0, np.nan], [0, 0]]), None, "not finite"),
        (np.zeros((2, 3)), [0, 0], "not all 0"),
        (np.zeros((2, 3)), [1], "one for each of the 2"),
    ],
)
def test_vectors_without_a_plane_are_refused(vectors, weights, said):
    with pytest.raises(ValueError) as refused:
        principal_plane(vectors, weights)
    assert said in str(refused.value)


def test_latents_have_their_values_as_colours():
    vectors, values = RANDOM.normal(size=(12, 4)), np.arange(12)
    axes, bar = latents_figure(vectors, values, "position").axes
    (dots,) = axes.collections
    assert np.allclose(dots.get_offsets(), principal_plane(vectors).points)
    assert dots.get_array().tolist() == values.tolist() and bar.get_ylabel() == "position"


def test_kinds_of_latents_have_a_colour_each_and_rare_ones_are_grey():
    kinds = [*"aabbccddeeff", "g", "h"]
    vectors = torch.from_numpy(RANDOM.normal(size=(len(kinds), 3)))
    (axes,) = latents_figure(vectors, kinds, "first symbol").axes
    groups = {one.get_label(): one for one in axes.collections}
    assert list(groups) == ["others", *"abcdef"]
    assert {name: len(one.get_offsets()) for name, one in groups.items()} == {"others": 2, **dict.fromkeys("abcdef", 2)}
    assert len({tuple(one.get_facecolor()[0]) for one in groups.values()}) == 7
    assert np.allclose(groups["b"].get_offsets(), principal_plane(vectors).points[2:4])


def test_sizes_are_areas_and_unused_codes_are_left_out():
    axes, _ = latents_figure(RANDOM.normal(size=(4, 3)), [1, 2, 3, 4], "n", sizes=[2, 0, 4, 2]).axes
    areas = axes.collections[0].get_sizes()
    assert len(areas) == 3 and np.allclose(areas / areas[0], [1, 2, 1])
    assert axes.collections[0].get_array().tolist() == [1, 3, 4]


def test_kinds_of_what_is_not_drawn_take_no_colour():
    kinds = [*"xxxa", *"abcdef"]
    (axes,) = latents_figure(RANDOM.normal(size=(10, 3)), kinds, "n", sizes=[0] * 4 + [1] * 6).axes
    assert [one.get_label() for one in axes.collections] == list("abcdef")
    assert all(len(one.get_offsets()) == 1 for one in axes.collections)


def test_properties_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one for each of the 3 latents"):
        latents_figure(np.eye(3), [1, 2], "n")


LOG = [
    {"loss": 3.0, "token_loss": 2.0, "commitment_loss": 0.0, "learning_rate": 1.0, "epoch": 0.1, "step": 10},
    {"eval_loss": 9.0, "step": 10},
    {"loss": 2.0, "token_loss": 1.5, "latent_loss": 0.5, "commitment_loss": 0.0, "epoch": 0.2, "step": 20},
    {"train_loss": 4.0, "step": 20},
]


def test_every_term_has_a_panel_with_what_was_logged_and_the_stages():
    figure = loss_figure(LOG, [("encoder", 12), ("prior", 8)])
    found = {axes.get_title(): axes for axes in figure.axes}
    assert list(found) == ["loss", "token loss", "latent loss"]
    assert found["loss"].lines[0].get_xydata().tolist() == [[10, 3], [20, 2]]
    assert found["latent loss"].lines[0].get_xydata().tolist() == [[20, 0.5]]
    for axes in figure.axes:
        assert axes.lines[1].get_xdata() == [12, 12]
        assert [(note.get_text(), note.xy[0]) for note in axes.texts] == [("encoder", 0), ("prior", 12)]


def test_a_log_without_losses_is_refused():
    with pytest.raises(ValueError, match="`log_history` of a run"):
        loss_figure([{"eval_loss": 1.0, "step": 1}])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: time_square_figure(table()),
        lambda: code_usage_figure([[0], [1]], 2),
        lambda: latents_figure(np.eye(3), [1, 2, 3], "n"),
        lambda: loss_figure(LOG),
    ],
)
def test_without_matplotlib_one_sentence_tells_how_to_get_it(draw, monkeypatch):
    hide("matplotlib", monkeypatch)
    with pytest.raises(ImportError, match=r"^A picture needs the package matplotlib: pip install 'ladd_hf\[plot\]'.$"):
        draw()
