"""The marginalised bound is in the mean never below the likelihood of the run's texts, falls with the number of
proposals, and is that likelihood where everything is enumerated."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from helpers.exact_denoiser import SEQUENCES, ExactDenoiser, random_table
from helpers.exact_world import ExactWorld, joint_points, sequential_points
from helpers.waiting_runs import chunked, waiting_law
from scipy import stats

from ladd_hf import RowGenerator
from ladd_hf.diffusion.continuous_latents import ContinuousLatents
from ladd_hf.diffusion.marginal_bound import bound_with
from ladd_hf.diffusion.masked_channels import DiscreteLatents, MaskedChannel
from ladd_hf.diffusion.nelbo import nelbo
from ladd_hf.diffusion.noise_schedules import gaussian_schedule, mask_schedule
from ladd_hf.diffusion.proposals import CodeProposals, EveryCode, NoProposals
from ladd_hf.diffusion.runs import marginal_points
from ladd_hf.diffusion.token_waiting import Waiting

RUNS = {
    "sequential": sequential_points(1, 2),
    "joint": joint_points(3),
    "stairs": [(1, 1), (1, 0.4), (0.3, 0.4), (0.3, 0), (0, 0)],
}


class Exact(ExactWorld):
    """The world as a denoiser, which says how often and on how many rows it was called."""

    def __init__(self, *args):
        super().__init__(*args)
        self.token_channel = MaskedChannel(mask_schedule("linear"), self.vocab)
        self.latent_channel = None
        if self.codes:
            self.latent_channel = DiscreteLatents(mask_schedule({"name": "polynomial", "degree": 2}), self.codebook)
        self.rows = 0

    def denoise(self, input_ids, latents=None, logits_mask=None, **others):
        self.rows += len(input_ids)
        return self(input_ids, latents, logits_mask)

    @property
    def texts(self):
        return torch.tensor(list(itertools.product(range(self.vocab), repeat=self.length)))

    def bound(self, run, proposals, count, repeats=1, seed=0, **options):
        """The bound of all texts, `(repeats, texts)`; `proposals` are of that many rows."""
        tokens = self.texts.repeat(repeats, 1)
        random = RowGenerator.from_seed(seed, torch.arange(len(tokens)))
        everything = torch.ones_like(tokens, dtype=torch.bool)
        found = bound_with(self, tokens, everything, None, run, proposals(len(tokens)), count, random, **options)
        return found, found.total_nats.view(repeats, -1)


def proposals_of(world, seed=1):
    """Codes of a law that has nothing to do with the text: any law will do."""
    if not world.codes:
        return lambda rows: NoProposals(None, rows)
    logits = torch.randn(world.codes, world.codebook, generator=torch.Generator().manual_seed(seed))
    return lambda rows: CodeProposals(logits.expand(1, rows, -1, -1))


WORLDS = {
    "codes": Exact.at_random(),
    "two codes": Exact.at_random(length=2, codes=2, codebook=3, seed=3),
    "tokens": Exact.at_random(codes=0),
}


def of_channels(world, run):
    return run if world.codes else [*dict.fromkeys((t_x, 0.0) for t_x, _ in run)]


def close(draws, expected, errors=5):
    mean, error = draws.mean(0), draws.std(0) / math.sqrt(len(draws))
    assert ((mean - expected).abs() <= errors * error).all(), (mean, expected, error)
    return error


# --- what it estimates ---


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("world", WORLDS)
def test_the_mean_weight_is_the_likelihood_of_what_the_run_writes(world, run):
    world, points = WORLDS[world], of_channels(WORLDS[world], RUNS[run])
    law = world.run_law(points)
    _, nats = world.bound(points, proposals_of(world), 1, repeats=4000)
    error = close((-nats).exp(), law)
    assert (error < 0.1 * law).all(), "an error that would show a mistake"


@pytest.mark.parametrize("world", WORLDS)
def test_it_falls_with_the_number_of_proposals_and_is_never_below(world):
    world, points = WORLDS[world], of_channels(WORLDS[world], RUNS["joint"])
    truth = -world.run_law(points).log()
    means, errors = [], []
    for count in (1, 4, 32):
        _, nats = world.bound(points, proposals_of(world), count, repeats=1500)
        means.append(nats.mean(0))
        errors.append(nats.std(0) / math.sqrt(len(nats)))
        assert (means[-1] >= truth - 5 * errors[-1]).all()
    for (before, after), error in zip(itertools.pairwise(means), errors, strict=False):
        assert (after <= before + 5 * error).all() and after.sum() < before.sum() - 5 * error.norm()
    assert (means[-1] - truth).sum() < 0.25 * (means[0] - truth).sum()


def test_with_every_code_and_one_step_for_each_channel_it_is_the_likelihood():
    world = WORLDS["codes"]
    points = sequential_points(1, 1)
    _, nats = world.bound(points, lambda rows: EveryCode(world.codebook, 1, rows), world.codebook)
    torch.testing.assert_close(nats[0], -world.run_law(points).log(), rtol=1e-10, atol=1e-10)
    several = Exact.at_random(length=2, codes=2, codebook=3, seed=3)
    every = EveryCode(3, 2, len(several.texts))
    _, nats = several.bound(points, lambda rows: every, every.count)
    torch.testing.assert_close(nats[0], -several.run_law(points).log(), rtol=1e-10, atol=1e-10)


def test_with_the_encoders_code_alone_it_is_the_plain_bound_of_the_run():
    denoiser = ExactDenoiser(random_table(), with_codes=True)
    tokens = SEQUENCES.repeat(400, 1)
    everything = torch.ones_like(tokens, dtype=torch.bool)
    random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
    codes = NoProposals(denoiser.encode(tokens, None).clean, len(tokens))
    run = RUNS["stairs"]
    plain = nelbo(denoiser, tokens, everything, num_samples=16, random=random, run=run).total_nats.view(400, -1)
    ours = bound_with(denoiser, tokens, everything, None, run, codes, 1, random).total_nats.view(400, -1)
    error = (plain.var(0) + ours.var(0)).div(400).sqrt()
    assert ((plain.mean(0) - ours.mean(0)).abs() < 5 * error).all() and error.median() < 0.1


def test_proposals_near_the_posterior_are_worth_more():
    world = WORLDS["codes"]
    points = sequential_points(1, 1)
    joint = world.table.flatten(0, -2)  # (texts, codes)
    posterior = (joint / joint.sum(1, keepdim=True)).log()[:, None]
    _, exact = world.bound(points, lambda rows: CodeProposals(posterior[None]), 8)
    few, others = world.bound(points, proposals_of(world), 8)
    assert few.effective.mean() < 7.5 and few.stderr.isfinite().all()
    truth = -world.run_law(points).log()
    assert (exact[0] - truth).abs().mean() < (others[0] - truth).abs().mean()


# --- the estimate ---


def test_its_standard_errors_are_those_of_repeated_estimates():
    world, points = WORLDS["codes"], RUNS["joint"]
    found, nats = world.bound(points, proposals_of(world), 64, repeats=300)
    assert found.stderr.view(300, -1).square().mean(0).sqrt() == pytest.approx(nats.std(0), rel=0.2)


def test_equal_states_are_evaluated_once():
    world = Exact.at_random()
    found, _ = world.bound(sequential_points(1, 1), proposals_of(world), 64, rows_at_once=3)
    assert found.num_evaluations == world.rows == 1 + world.codebook, "all masked once, then each code once"


def test_it_does_not_depend_on_the_batch_or_on_the_rows_at_once():
    world, points = WORLDS["two codes"], RUNS["stairs"]
    _, together = world.bound(points, proposals_of(world), 8, rows_at_once=1000)
    _, cut = world.bound(points, proposals_of(world), 8, rows_at_once=2)
    torch.testing.assert_close(cut, together, rtol=1e-12, atol=1e-12)
    row = 3
    tokens = world.texts[row : row + 1]
    alone = bound_with(
        world,
        tokens,
        torch.ones_like(tokens, dtype=torch.bool),
        None,
        points,
        proposals_of(world)(1),
        8,
        RowGenerator.from_seed(0, torch.tensor([row])),
    )
    torch.testing.assert_close(alone.total_nats[0], together[0, row], rtol=1e-12, atol=1e-12)


def test_proposals_near_the_encoders_vectors_do_not_depend_on_their_scale():
    generator = torch.Generator().manual_seed(0)
    shapes = (5, 3), (4, 2, 3)
    codebook, vectors = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes)
    one, other = (CodeProposals.near(scale * vectors, scale * codebook, [0.5]).logits for scale in (1.0, 7.0))
    torch.testing.assert_close(one, other)
    exact = CodeProposals.near(codebook[:2][None], codebook, [0.5]).draw(4, RowGenerator.from_seed(0, torch.arange(1)))
    assert exact[0].flatten(0, 1).tolist() == [[0, 1]] * 4 and exact[1].abs().max() < 1e-9
    narrow, wide = (CodeProposals.near(vectors, codebook, [width]).logits.softmax(-1).amax(-1) for width in (0.1, 2.0))
    assert (narrow > wide).all()


def test_codes_around_the_encoders_have_the_stated_share_of_others():
    codes = torch.tensor([[2, 0, 1]])
    proposals = CodeProposals.around(codes, 4, 0.4)
    law = proposals.logits.softmax(-1)
    assert law[0].gather(-1, codes[..., None]).squeeze(-1).tolist() == [pytest.approx([0.7] * 3)]
    drawn, log_law = proposals.draw(3, RowGenerator.from_seed(0, torch.arange(1)))
    expected = law[0].log().expand(3, 1, 3, 4).gather(-1, drawn[..., None]).sum((-1, -2))
    torch.testing.assert_close(log_law, expected)


def test_draws_of_a_mixture_count_with_its_probabilities_and_have_them():
    logits = torch.randn(3, 1, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    codes, log_law = CodeProposals(logits).draw(40_000, RowGenerator.from_seed(0, torch.arange(1)))
    law = torch.einsum("wi,wj->ij", *logits.softmax(-1)[:, 0].unbind(1)) / 3
    counts = (codes[:, 0, 0] * 3 + codes[:, 0, 1]).bincount(minlength=9)
    assert stats.chisquare(counts.numpy(), (law.flatten() * 40_000).numpy()).pvalue > 1e-3
    torch.testing.assert_close(log_law[:, 0].exp(), law[codes[:, 0, 0], codes[:, 0, 1]])


def test_what_is_left_to_chance_has_an_error_and_what_is_not_has_none():
    world = WORLDS["codes"]
    every = EveryCode(world.codebook, 1, len(world.texts))
    exact, _ = world.bound(sequential_points(1, 1), lambda rows: every, every.count)
    drawn, _ = world.bound(sequential_points(1, 2), lambda rows: every, every.count)
    assert not exact.stderr.any() and drawn.stderr.isnan().all()


# --- continuous latents ---

_CENTRES = torch.tensor([[-1.2, 0.4], [0.9, 0.3], [0.1, -1.0]], dtype=torch.float64)
_SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
_TOKENS = torch.tensor([[0.7, 0.3], [0.1, 0.9], [0.5, 0.5]], dtype=torch.float64)  # p(x_i | centre), both tokens alike


class Clusters:
    """A latent of two coordinates at one of three places, which tells the law of two tokens; all predictions exact."""

    def __init__(self):
        self.token_channel = MaskedChannel(mask_schedule("linear"), 2)
        self.latent_channel = ContinuousLatents(gaussian_schedule("cosine"), False, 2)
        self.texts = torch.tensor(list(itertools.product(range(2), repeat=2)))

    def denoise(self, input_ids, latents, latent_timesteps, logits_mask, **others):
        time = latent_timesteps.double()
        variance = self.latent_channel.schedule.signal_variance(time)
        apart = (latents[:, 0, None].double() - variance.sqrt()[:, None, None] * _CENTRES).square().sum(-1)
        logits = _SHARES.log() - apart / (2 * (1 - variance))[:, None]
        for token in input_ids.T:
            logits = logits + torch.where(token[:, None] < 2, _TOKENS.log()[:, token.clamp(max=1)].T, 0.0)
        law = logits.softmax(-1)  # (B, 3)
        tokens = torch.cat([law @ _TOKENS, torch.zeros(len(law), 1)], dim=1).log()
        output = SimpleNamespace(latent_prediction=(law @ _CENTRES)[:, None])
        output.logits = tokens[:, None].expand(-1, 2, -1)[logits_mask]
        return output

    def run_law(self, times, size=61, extent=4.5):
        """p(x) of a run with these times of the latent and one step of the tokens, by integrals over a grid."""
        axis = torch.linspace(-extent, extent, size, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)
        cell = (axis[1] - axis[0]) ** 2
        masked = torch.full((len(grid), 2), 2)
        law = torch.exp(-grid.square().sum(1) / 2) / (2 * math.pi) * cell
        schedule = self.latent_channel.schedule
        for t, s in itertools.pairwise(times):
            a_t, a_s = (schedule.signal_variance(torch.tensor(time, dtype=torch.float64)) for time in (t, s))
            everywhere = torch.ones_like(masked, dtype=torch.bool)
            said = self.denoise(masked, grid[:, None], torch.full((len(grid),), t), everywhere)
            clean = said.latent_prediction[:, 0]
            added = 1 - a_t / a_s
            mean = ((a_t / a_s).sqrt() * (1 - a_s) * grid + a_s.sqrt() * added * clean) / (1 - a_t)
            variance = added * (1 - a_s) / (1 - a_t)
            density = torch.exp(-torch.cdist(grid, mean).square() / (2 * variance)) / (2 * math.pi * variance) * cell
            law = density @ law
        said = self.denoise(masked, grid[:, None], torch.full((len(grid),), times[-1]), everywhere)
        tokens = said.logits.view(len(grid), 2, 3).exp()
        return torch.stack([(law * tokens[:, 0, a] * tokens[:, 1, b]).sum() for a, b in self.texts.tolist()])


def test_of_continuous_latents_it_is_a_bound_on_the_likelihood_of_the_run():
    world, times = Clusters(), [1.0, 0.6, 0.3]
    law = world.run_law(times)
    assert law.sum() == pytest.approx(1, abs=1e-3)
    repeats, run = 3000, [*((1.0, t) for t in times), (0.0, times[-1])]
    tokens = world.texts.repeat(repeats, 1)
    everything = torch.ones_like(tokens, dtype=torch.bool)
    centres = _CENTRES[torch.tensor([0, 2, 2, 1]).repeat(repeats)][:, None]  # as an encoder might say
    means = []
    for count in (1, 16):
        random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
        found = bound_with(world, tokens, everything, None, run, NoProposals(centres, len(tokens)), count, random)
        nats = found.total_nats.view(repeats, -1)
        if count == 16:
            close((-nats).exp(), law)
        error = nats.std(0) / math.sqrt(repeats)
        assert (nats.mean(0) >= -law.log() - 5 * error).all()
        means.append(nats.mean(0))
    assert (means[1] < means[0]).all() and (means[0] > -law.log() + 0.1).all()


# --- runs that end before their latents are clean ---

OPEN = [(1, 1), (1, 0.5), (0.4, 0.5), (0, 0.5)]


@pytest.mark.parametrize("run", [OPEN, [*OPEN, (0, 0)], 2])
def test_continuous_latents_may_stay_noisy(run):
    gaussian = ContinuousLatents(gaussian_schedule("linear"), False, 2)
    found = marginal_points(run, None, gaussian, 0.1)
    assert all(t_y > 0 for _, t_y in found) and found[-1][0] == 0
    assert (found[-1] == (0, 0.5)) == (run == OPEN)
    assert marginal_points(OPEN, None, gaussian, 3.0) == OPEN, "the end of a run is what it says"


@pytest.mark.parametrize("world", ["codes", "two codes"])
def test_codes_that_are_masked_at_the_end_change_nothing_of_the_texts(world):
    world = WORLDS[world]
    law = world.run_law(OPEN)
    torch.testing.assert_close(world.run_law([*OPEN, (0, 0)]), law)
    points = marginal_points(OPEN, None, world.latent_channel, 0.5)
    _, nats = world.bound(points, proposals_of(world), 1, repeats=4000)
    error = close((-nats).exp(), law)
    assert (error < 0.1 * law).all()


def test_tokens_have_to_be_written():
    with pytest.raises(ValueError, match="is not accepted"):
        marginal_points([(1, 1), (0.2, 0.5)], None, WORLDS["codes"].latent_channel, 0.5)


# --- runs whose tokens wait for their latents ---

CHUNKED = chunked(Exact.at_random(vocab=2, length=3, codebook=2, codes=2, seed=3))
CHUNKS = torch.tensor([0, 0, 1])
ONES = torch.randint(1, 10, (4, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["while_written", "until_known"])
@pytest.mark.parametrize("run", ["joint", "stairs"])
def test_the_mean_weight_is_the_likelihood_of_what_a_run_with_waiting_writes(run, name):
    repeats, points = 4000, RUNS[run]
    waiting = Waiting.of(name, CHUNKS.expand(repeats * len(CHUNKED.texts), -1))
    _, nats = CHUNKED.bound(points, proposals_of(CHUNKED), 1, repeats=repeats, waiting=waiting)
    law = waiting_law(CHUNKED, points, name)
    error = close((-nats).exp(), law)
    assert (error < 0.1 * law).all(), "an error that would show a mistake"
    if run == "joint":
        for other in ("none", "while_written", "until_known"):
            apart = ((-nats).exp().mean(0) - waiting_law(CHUNKED, points, other)).abs() / error
            assert (apart.max() > 5) == (other != name)


def test_waiting_for_all_latents_is_waiting_for_each():
    world, points = WORLDS["two codes"], joint_points(3)
    _, nats = world.bound(points, proposals_of(world), 1, repeats=4000, waiting=Waiting.of("until_known"))
    close((-nats).exp(), waiting_law(world, points, "until_known"))


def test_several_proposals_of_a_text_wait_as_it_does():
    waiting = Waiting.of("until_known", CHUNKS.expand(len(CHUNKED.texts), -1))
    every = EveryCode(2, 2, len(CHUNKED.texts))
    points = [(1, 1), (0.5, 0), (0, 0)]  # all tokens wait for the codes, and then there is one step
    _, nats = CHUNKED.bound(points, lambda rows: every, every.count, waiting=waiting)
    torch.testing.assert_close(nats[0], -CHUNKED.run_law(sequential_points(1, 1)).log(), rtol=1e-10, atol=1e-10)


def test_a_models_bound_waits_by_its_chunks(stirred_model):
    model = stirred_model("discrete", latent_unpooling="chunk")
    given = {"run": joint_points(4), "num_proposals": 3}

    def random():
        return RowGenerator.from_seed(0, torch.arange(len(ONES)))

    plain, late = (model.nelbo(ONES, generator=random(), token_waiting=one, **given) for one in ("none", "until_known"))
    assert (plain.nats != late.nats).all()
    mask = torch.ones_like(ONES)
    padded = torch.cat([ONES, torch.zeros(4, 3, dtype=torch.int64)], 1)[:, :12]
    padded[:, 8:], mask[:, 8:] = 0, 0  # texts of eight tokens, in a batch that is padded further or not
    options = {**given, "token_waiting": "until_known"}
    short = model.nelbo(ONES[:, :8], generator=random(), **options)
    torch.testing.assert_close(model.nelbo(padded, mask, generator=random(), **options).nats, short.nats)
    without = stirred_model("none")
    same = [without.nelbo(ONES, generator=random(), token_waiting=one, **given) for one in ("none", "until_known")]
    assert torch.equal(*(one.nats for one in same)), "nothing to wait for"


def test_bounds_that_do_not_follow_waiting_are_refused(stirred_model):
    with pytest.raises(ValueError, match=r"`token_waiting` changes what each step of a run reveals.*`num_proposals`"):
        stirred_model("discrete").nelbo(ONES, run=4, token_waiting="until_known")
    with pytest.raises(ValueError, match="Clean latents without anchors have no probability"):
        stirred_model("continuous").nelbo(ONES, run=4, num_proposals=2, token_waiting="while_written")
    with pytest.raises(ValueError, match="`token_waiting` 'soon' is unknown"):
        stirred_model("discrete").nelbo(ONES, run=4, num_proposals=2, token_waiting="soon")
