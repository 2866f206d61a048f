"""A world so small that everything about it is known: the denoiser's predictions, and the law of every sampler.

A table gives p(x, y) of a few tokens x and latent codes y. From it follow the exact denoiser p(x_i | x_t, y_t),
p(y_j | x_t, y_t), behind the same call as the model's, and by enumeration of the Markov chain the exact law of what a
run of N steps writes. The enumeration uses formulas written down here, nothing of the package.
"""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import torch
from scipy import stats

from ladd_hf import LaddConfig, RowGenerator

SPACINGS = {"uniform": lambda done: 1 - done, "cosine": lambda done: math.cos(math.pi / 2 * done)}


class ExactWorld:
    """A joint distribution of tokens and codes, and its exact denoiser.

    Args:
        table: probabilities `(V,) * S + (K,) * M`, all positive, so that every state can be reached.
        length: S, how many of the axes are tokens.
    """

    def __init__(self, table, length):
        assert (table > 0).all()
        self.table = table.double() / table.double().sum()
        self.length, self.codes = length, table.ndim - length
        self.vocab, self.codebook = table.shape[0], table.shape[-1] if self.codes else 0
        latents = {
            "latent_type": "discrete",
            "latent_length": self.codes,
            "latent_dim": 2,
            "codebook_size": self.codebook,
        }
        self.config = LaddConfig(
            vocab_size=self.vocab + 1, max_position_embeddings=length, **(latents if self.codes else {})
        )
        self.values = torch.tensor(list(itertools.product(*(range(size) for size in self.table.shape))))
        self.weights = self.table.flatten()  # of each row of `values`

    @classmethod
    def at_random(cls, vocab=2, length=3, codebook=2, codes=1, sharpness=2.0, seed=0):
        """A world whose log-probabilities are normal numbers times `sharpness`."""
        shape = (vocab,) * length + (codebook,) * codes
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return cls((sharpness * noise).exp(), length)

    def without_codes(self):
        """The same tokens with no codes to write: MDLM's world."""
        if not self.codes:
            return self
        return ExactWorld(self.table.sum(tuple(range(self.length, self.table.ndim))), self.length)

    def token_law(self):
        """p(x), `(V^S,)`."""
        return self.without_codes().table.flatten()

    def __call__(self, input_ids, latents=None, logits_mask=None, **times):
        """The model's call; its predictions are exact."""
        tokens, codes = self.predictions(input_ids, latents)
        tokens = torch.cat([tokens, torch.zeros_like(tokens[..., :1])], dim=-1)  # the mask token
        logits = tokens.log() if logits_mask is None else tokens.log()[logits_mask]
        return SimpleNamespace(logits=logits, latent_prediction=None if codes is None else codes.log())

    def predictions(self, tokens, latents=None):
        """p(x_i | x_t, y_t) `(B, S, V)` and p(y_j | x_t, y_t) `(B, M, K)`; without latents, of the tokens alone."""
        agrees = (tokens[:, None] == self.values[:, : self.length]) | (tokens[:, None] == self.vocab)
        agrees = agrees.all(-1)  # (B, rows of the table)
        if latents is not None:
            of_codes = (latents[:, None] == self.values[:, self.length :]) | (latents[:, None] == self.codebook)
            agrees &= of_codes.all(-1)
        weights = agrees * self.weights
        weights = weights / weights.sum(1, keepdim=True)

        def marginals(columns, size):
            return torch.einsum("bn,nsv->bsv", weights, torch.nn.functional.one_hot(columns, size).double())

        codes = None if latents is None else marginals(self.values[:, self.length :], self.codebook)
        return marginals(self.values[:, : self.length], self.vocab), codes

    def predictions_at(self, t_x, tokens, codes):
        """The predictions at a time of the tokens, which they do not depend on."""
        return self.predictions(tokens, codes)

    def run_law(self, points, token_alpha=lambda t: 1 - t, code_alpha=lambda t: 1 - t**2, remask=None, start=None):
        """Law `(V^S,)` of the tokens that a run over `points` (t_x, t_y) of the time square writes, by enumeration.

        In a step each masked place stays masked with probability (1 - alpha(s)) / (1 - alpha(t)), and is otherwise
        drawn from the prediction; at time 0 nothing is masked. With `remask(alpha_t, alpha_s)`, a visible token is
        masked with that probability sigma, and a masked one revealed with probability
        (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t).

        `start` is the law of the codes at first, of K or the mask each, if not all of them are masked.
        """
        states = torch.tensor(
            list(itertools.product(*[range(self.vocab + 1)] * self.length, *[range(self.codebook + 1)] * self.codes))
        )
        tokens, codes = states[:, : self.length], states[:, self.length :]
        mass = torch.zeros(len(states), dtype=torch.float64)
        if start is None:
            mass[-1] = 1.0  # all masked is the last state
        else:
            mass[-start.numel() :] = start.flatten()  # the last states have all tokens masked
        for (t_x, t_y), (s_x, s_y) in itertools.pairwise(points):
            of_tokens, of_codes = self.predictions_at(t_x, tokens, codes if self.codes else None)
            sigma, reveal = 0.0, _reveal(token_alpha, t_x, s_x)
            if remask is not None and s_x < t_x:
                alpha_t, alpha_s = token_alpha(t_x), 1.0 if s_x == 0 else token_alpha(s_x)
                sigma = remask(alpha_t, alpha_s)
                reveal = (alpha_s - (1 - sigma) * alpha_t) / (1 - alpha_t)
            factors = [
                self._moves(tokens[:, place], of_tokens[:, place], reveal, self.vocab, sigma)
                for place in range(self.length)
            ]
            factors += [
                self._moves(codes[:, place], of_codes[:, place], _reveal(code_alpha, t_y, s_y), self.codebook)
                for place in range(self.codes)
            ]
            moved = mass[:, None]
            for factor in factors:  # places move independently, given the state
                moved = (moved[:, :, None] * factor[:, None]).flatten(1)
            reachable = mass > 0
            mass = moved[reachable].sum(0)
        mass = mass.view([self.vocab + 1] * self.length + [self.codebook + 1] * self.codes)
        if self.codes:
            mass = mass.sum(tuple(range(self.length, mass.ndim)))
        return mass[(slice(0, self.vocab),) * self.length].flatten()

    @staticmethod
    def _moves(current, prediction, reveal, mask, sigma=0.0):
        """Law `(states, size + 1)` of one place's next value."""
        stays, masks = (torch.nn.functional.one_hot(x, mask + 1).double() for x in (current, torch.tensor([mask])))
        drawn = torch.nn.functional.pad(prediction, (0, 1))
        of_visible = (1 - sigma) * stays + sigma * masks
        return torch.where((current == mask)[:, None], (1 - reveal) * stays + reveal * drawn, of_visible)

    def ordered_law(self, choose):
        """Law `(V^S,)` of the tokens, without codes, where `choose(state, predictions)` says what is revealed next.

        It gives pairs of a probability and of places to reveal at once; `state` is a tuple of S tokens, the mask V
        where masked, and `predictions` `(S, V)` are what the denoiser says there.
        """
        law, waiting = torch.zeros([self.vocab] * self.length, dtype=torch.float64), {(self.vocab,) * self.length: 1.0}
        while waiting:
            state, mass = waiting.popitem()
            if self.vocab not in state:
                law[state] += mass
                continue
            predictions = self.predictions(torch.tensor([state]))[0][0]
            for probability, places in choose(state, predictions):
                for symbols in itertools.product(range(self.vocab), repeat=len(places)):
                    after, chance = list(state), mass * probability
                    for place, symbol in zip(places, symbols, strict=True):
                        after[place] = symbol
                        chance *= float(predictions[place, symbol])
                    waiting[tuple(after)] = waiting.get(tuple(after), 0.0) + chance
        return law.flatten()


def _reveal(alpha, t, s):
    if t == s:
        return 0.0
    return 1.0 if s == 0 else 1 - (1 - alpha(s)) / (1 - alpha(t))


def joint_points(num_steps, spacing="uniform"):
    """The diagonal: both times are the share of noise that is left."""
    left = [SPACINGS[spacing](step / num_steps) for step in range(num_steps)] + [0.0]
    return [(time, time) for time in left]


def sequential_points(latent_steps, token_steps, spacing="uniform"):
    """The latents' side, then the tokens'."""
    latents = joint_points(latent_steps, spacing)
    return [(1.0, t) for t, _ in latents] + [(t, 0.0) for t, _ in joint_points(token_steps, spacing)[1:]]


def sample_counts(world, scheduler, num_steps, count=20_000, seed=0, latents=None, denoiser=None, latent_time=0.0):
    """Counts how often a scheduler's run gives each of the V^S texts, `(V^S,)`; `latents` are at `latent_time`."""
    scheduler = scheduler.for_model(world.config)
    scheduler.set_timesteps(num_steps, latent_time=1.0 if latents is None else latent_time)
    random = RowGenerator.from_seed(seed, torch.arange(count))
    tokens = torch.full((count, world.length), world.vocab)
    latents = scheduler.prior_latents(world.codes, random, count) if latents is None else latents
    denoiser = denoiser or world
    for step in scheduler.timesteps:
        plan = scheduler.plan_step(step, tokens, latents, random)
        output = denoiser(tokens, latents, logits_mask=plan.unmask)
        tokens, latents = scheduler.step(output, step, tokens, latents, plan=plan, generator=random, return_dict=False)
    places = world.vocab ** torch.arange(world.length - 1, -1, -1)
    return (tokens * places).sum(1).bincount(minlength=world.vocab**world.length)


def p_value(counts, law):
    """P-value of the chi-square test that `counts` were drawn from `law`; texts of less than 5 expected draws are
    pooled."""
    expected = law * counts.sum()
    rare = expected < 5
    observed, expected = (torch.cat([x[~rare].double(), x[rare].double().sum()[None]]) for x in (counts, expected))
    if expected[-1] < 5:  # not enough even together: into the largest
        largest = int(expected[:-1].argmax())
        observed[largest] += observed[-1]
        expected[largest] += expected[-1]
        observed, expected = observed[:-1], expected[:-1]
    return stats.chisquare(observed.numpy(), (expected * observed.sum() / expected.sum()).numpy()).pvalue
