"""The bound with latents averaged out: the likelihood of a run's texts, by importance sampling over its latents.

A run of N steps writes a text in many ways: with any latents y, and in any order tau in which places are revealed. The
order does not depend on what is written, so given latents and order a text has the probability p(x, y | tau), a product
of the denoiser's predictions along the way: N evaluations. With y_k from a law q of proposals, and tau_k from the run's
own law of orders, (1 / K) sum_k p(x, y_k | tau_k) / q(y_k) has the mean p(x) exactly. Its negative logarithm is in the
mean never below the run's negative log-likelihood, falls with K, and tends to it (Burda et al. 2016). With K = 1 and
the encoder's own code it is the plain bound of the run, which pays for this code in full though others would have led
to the same text.

Continuous latents have a density only with some noise, so their run ends at a time t_y > 0, at which the tokens read
them; their proposals are the forward process, and their steps those of the solver `ddpm`. Those that are drawn from
anchors have probabilities, as codes do: proposals are anchors, and the run goes to its end. Tokens may wait for their
latents (`token_waiting.py`), which changes the run's own law of orders alone. Paper, sections 2, 3, 7.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..utils.number_ranges import COUNT, POSITIVE
from .bounds import Bound
from .channels import LatentChannel
from .denoiser import Denoiser, Encode
from .latents_alone import LatentsAlone
from .paths import PathSpec, Point
from .proposals import EveryCode, NoProposals, Proposals, combinations, proposals_around
from .rng import RowGenerator
from .runs import LATENT_WIDTH, RunSpec, marginal_points
from .token_waiting import Waiting

# Logits of a call of the denoiser are at most so many numbers, of which a copy in float64 is made (256 MiB).
_LOGITS_AT_ONCE = 1 << 25


@dataclass
class MarginalNelbo(Bound):
    """Marginalised bound of each example.

    Attributes:
        nats: `(B,)` float64.
        stderr: `(B,)` standard errors from the spread of the proposals' weights, too small where proposals coincide.
            Nan for a single proposal, and where each code or anchor is taken once while orders or noise are drawn; 0 if
            nothing is drawn.
        effective: `(B,)` proposals that the weights are worth, (sum w)^2 / sum w^2.
        num_tokens: tokens of each example, without padding.
        num_proposals: K.
        num_evaluations: rows that the denoiser evaluated for the whole batch, equal states of a step once.
    """

    nats: Tensor
    stderr: Tensor
    effective: Tensor
    num_tokens: Tensor
    num_proposals: int
    num_evaluations: int

    @property
    def total_nats(self) -> Tensor:
        """The bound, `(B,)`."""
        return self.nats


def check_proposals(
    run: RunSpec | None, num_proposals: int | None, width: float | None = None, waiting: Waiting | None = None
) -> None:
    """Raises `ValueError` for proposals without a run, and for a width or a law of waiting without a number of
    proposals."""
    if num_proposals is None and waiting is not None:
        raise ValueError(
            "`token_waiting` changes what each step of a run reveals, which the sum over single steps does not follow: "
            "give `num_proposals`, such as 16, for the bound that walks the whole run."
        )
    if num_proposals is None and width is not None:
        raise ValueError("`proposal_width` is the spread of proposals: give `num_proposals`, their number.")
    if num_proposals is not None and run is None:
        raise ValueError(
            "`num_proposals` averages out the latents and orders of a run: give `run`, a number of steps or its points."
        )


@torch.no_grad()
def marginal_nelbo(
    denoiser: Denoiser,
    tokens: Tensor,
    maskable: Tensor,
    attention_mask: Tensor | None,
    run: RunSpec,
    num_proposals: int,
    path: PathSpec | None = None,
    width: float | None = None,
    random: RowGenerator | None = None,
    encode: Encode | None = None,
    codebook: Tensor | None = None,
    rows_at_once: int = 256,
    waiting: Waiting | None = None,
) -> MarginalNelbo:
    """Estimates the marginalised bound of a run, with proposals around the encoder's output.

    Args:
        denoiser: the model.
        tokens: `(B, S)` clean tokens.
        maskable: `(B, S)` bool, the tokens to score.
        attention_mask: `(B, S)`, or `None` without padding.
        run: points (t_x, t_y) of the run, from (1, 1), or its number of evaluations along `path`. The last point may be
            (0, t_y) with t_y > 0, latents that are not clean when the last token is written.
        num_proposals: K; if there are no more combinations of codes, each of them once.
        path: `joint` by default.
        width: spread of codes around the encoder's, see [`proposals_around`]; for continuous latents the noise that
            they keep, as a share of their signal, 0.5 by default. The bound is valid for any.
        random: the examples' random streams; by default from torch's global generator.
        encode: replaces the denoiser's own `encode`.
        codebook: `(K, D)` vectors of the codes, or the anchors; without vectors of codes `width` is the share of codes
            drawn from all.
        rows_at_once: rows per call of the denoiser.
        waiting: the run's tokens that wait for their latents, `None` if none do.

    Raises `ValueError` for an invalid run or path, one that starts with clean latents, for numbers out of range, and
    for waiting for latents that never are clean.
    """
    COUNT.check("num_proposals", num_proposals)
    channel, rows = denoiser.latent_channel, len(tokens)
    if width is not None:
        POSITIVE.check("proposal_width", width)
    if waiting is not None and channel is not None and channel.ends_noisy:
        raise ValueError(
            "Clean latents without anchors have no probability, so that the bound's run keeps noise on them, for whose "
            "end tokens would wait in vain: give no `token_waiting`, or a model with the `latent_prediction_type` "
            "'anchors'."
        )
    points = marginal_points(run, path, channel, LATENT_WIDTH if width is None else width)
    random = random or RowGenerator.from_generator(None, rows, tokens.device)
    proposals: Proposals = NoProposals(None, rows)
    if channel is not None:
        encoded = (encode or denoiser.encode)(tokens, attention_mask, None)
        size = 0 if encoded.codes is None else channel.mask_id  # type: ignore[attr-defined]
        proposals = proposals_around(encoded, codebook, size, num_proposals, width)
    num_proposals = combinations(proposals) or num_proposals
    return bound_with(
        denoiser, tokens, maskable, attention_mask, points, proposals, num_proposals, random, rows_at_once, waiting
    )


def bound_with(
    denoiser: Denoiser,
    tokens: Tensor,
    maskable: Tensor,
    attention_mask: Tensor | None,
    points: Sequence[Point],
    proposals: Proposals,
    num_proposals: int,
    random: RowGenerator,
    rows_at_once: int = 256,
    waiting: Waiting | None = None,
) -> MarginalNelbo:
    """Estimates the marginalised bound of a run over `points` with any [`Proposals`]; see [`marginal_nelbo`].

    The last t_y is above 0 for continuous latents that `ends_noisy`.
    """
    clean, log_law = proposals.draw(num_proposals, random)  # (K, B, ...), (K, B)
    rows = RowGenerator(random.bits(num_proposals).T.flatten())  # one stream for each proposal of each text
    walk = _Walk(denoiser, tokens, maskable, attention_mask, num_proposals, rows_at_once, waiting)
    log_weights = walk.along(points, None if clean is None else clean.flatten(0, 1), rows) - log_law
    mean = log_weights.logsumexp(0) - math.log(num_proposals)
    shares = log_weights.softmax(0)  # (K, B)
    error = torch.full_like(mean, math.nan)
    if combinations(proposals):
        moves = [sum(t > s for t, s in itertools.pairwise(times)) for times in zip(*points, strict=True)]
        certain = isinstance(proposals, EveryCode) and moves == [1, 1]  # nothing is left to chance
        error = torch.zeros_like(mean) if certain else error
    elif num_proposals > 1:  # of the mean weight, as a share of it
        error = (shares * num_proposals).std(0) / math.sqrt(num_proposals)
    return MarginalNelbo(-mean, error, 1 / shares.square().sum(0), maskable.sum(1), num_proposals, walk.num_evaluations)


@dataclass
class _LatentStep:
    """A step of the latents from t to s that is known to lead to the clean ones: `(R, M)` or `(R, M, D)` each."""

    channel: LatentChannel
    clean: Tensor
    noisy: Tensor
    following: Tensor
    t: float
    s: float

    @property
    def moves(self) -> Tensor:
        """The latents that change, `(R, M)` bool."""
        apart = self.following != self.noisy
        return apart if apart.ndim == 2 else apart.any(-1)

    def changed(self) -> Tensor:
        """Returns the rows in which a latent changes, `(R,)` bool."""
        return self.moves.any(1)

    def holds(self, waiting: Waiting, length: int) -> Tensor:
        """Returns the tokens that wait in the step, `(R, length)` bool."""
        return waiting.tokens(self.channel, self.noisy, self.moves, self.t, self.s, length)

    def log_ratio(self, prediction: Tensor, rows: Tensor) -> Tensor:
        """Returns log p - log q of the step of some rows, `(n,)`, from their predictions."""
        if self.s == self.t:
            return torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        given = self.clean[rows], self.noisy[rows], self.following[rows]
        return self.channel.step_log_ratio(prediction, *given, self.t, self.s)


class _Walk:
    """A run of all proposals of a batch at once, in which the places that are revealed get the texts' own tokens."""

    def __init__(
        self,
        denoiser: Denoiser,
        tokens: Tensor,
        maskable: Tensor,
        attention_mask: Tensor | None,
        num_proposals: int,
        rows_at_once: int,
        waiting: Waiting | None = None,
    ) -> None:
        self.denoiser, self.alone, self.num_evaluations = denoiser, LatentsAlone.of(denoiser), 0
        self.rows_at_once, self._most_rows = 1, rows_at_once  # more once the size of the vocabulary is known
        self.shape = num_proposals, len(tokens)
        self.tokens, self.maskable = tokens.repeat(num_proposals, 1), maskable.repeat(num_proposals, 1)
        self.attention_mask = None if attention_mask is None else attention_mask.repeat(num_proposals, 1)
        self.waiting = None if waiting is None else waiting.repeated(num_proposals)

    def along(self, run: Sequence[Point], clean: Tensor | None, random: RowGenerator) -> Tensor:
        """Returns log p(x, y | tau) of each proposal of each text, `(K, B)`, less log q of its noise."""
        masking, channel = self.denoiser.token_channel, self.denoiser.latent_channel
        tokens, total = torch.where(self.maskable, masking.mask_id, self.tokens), self._nothing(len(self.tokens))
        noisy = None
        if channel is not None and clean is not None:
            noisy = channel.add_noise(clean, torch.full_like(total, run[0][1]), random)
            total += channel.start_log_ratio(clean, noisy, run[0][1])
        for (t_x, t_y), (s_x, s_y) in itertools.pairwise(run):
            revealed, latents = torch.zeros_like(self.maskable), None
            if s_x < t_x:
                revealed = self.maskable & masking.draw_unmask(tokens, t_x, s_x, random)
            if channel is not None and clean is not None and noisy is not None:
                following = channel.forced_step(clean, noisy, t_y, s_y, random) if s_y < t_y else noisy
                latents, noisy = _LatentStep(channel, clean, noisy, following, t_y, s_y), following
                if self.waiting is not None and s_x > 0:  # in the end nothing waits
                    revealed &= ~latents.holds(self.waiting, tokens.shape[1])
            total += self._step(tokens, revealed, latents, t_x)
            tokens = torch.where(revealed, self.tokens, tokens)
        return total.view(self.shape)

    def _step(self, tokens: Tensor, revealed: Tensor, latents: _LatentStep | None, token_time: float) -> Tensor:
        """Returns the log-probabilities of what a step reveals, `(K B,)`."""
        total, changed = self._nothing(len(tokens)), revealed.any(1)
        if latents is not None:
            changed |= latents.changed()
        places = changed.nonzero().squeeze(1)
        if not len(places):
            return total
        first, state = self._different(tokens, latents, places)  # rows, and the state of each of `places`
        asked = torch.zeros(len(first), tokens.shape[1], dtype=torch.bool, device=tokens.device)
        asked.index_put_((state,), revealed[places], accumulate=True)
        order = state.argsort(stable=True)
        ends = [0, *torch.bincount(state, minlength=len(first)).cumsum(0).tolist()]
        low = high = 0
        while high < len(first):
            low, high = high, min(high + self.rows_at_once, len(first))
            members = order[ends[low] : ends[high]]
            rows, of = places[members], state[members] - low
            output = self._evaluate(tokens, latents, first[low:high], asked[low:high], token_time)
            if output.logits is not None:  # else no token is revealed
                total[rows] += self._token_log_probability(output.logits, asked[low:high], of, rows, revealed)
            if latents is not None and output.latent_prediction is not None:
                total[rows] += latents.log_ratio(output.latent_prediction[of], rows)
        return total

    def _different(self, tokens: Tensor, latents: _LatentStep | None, places: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the first row of each different state among `places`, and the number of each one's state."""
        parts = [tokens[places]]
        if latents is not None:
            if latents.noisy.is_floating_point() and latents.t > 0:  # no two are equal; clean ones are anchors
                return places, torch.arange(len(places), device=places.device)
            parts.append(latents.noisy[places].flatten(1))
        if self.attention_mask is not None:
            parts.append(self.attention_mask[places].to(tokens.dtype))
        _, state = torch.cat(parts, dim=1).unique(dim=0, return_inverse=True)
        first = torch.full((int(state.max()) + 1,), len(tokens), device=places.device)
        return first.scatter_reduce(0, state, places, "amin"), state

    def _evaluate(
        self, tokens: Tensor, latents: _LatentStep | None, rows: Tensor, asked: Tensor, token_time: float
    ) -> Any:
        """Evaluates the denoiser on the states of some rows, with logits where they are asked for."""
        nothing = self._nothing(len(rows))
        output = self.alone.evaluate(
            self._counted,
            tokens[rows],
            None if latents is None else latents.noisy[rows],
            latents_move=latents is not None and latents.s < latents.t,
            token_timesteps=nothing + token_time,
            latent_timesteps=None if latents is None else nothing + latents.t,
            attention_mask=None if self.attention_mask is None else self.attention_mask[rows],
            logits_mask=asked,
        )
        if output.logits is not None:
            numbers = tokens.shape[1] * output.logits.shape[-1]  # of a row, at most
            self.rows_at_once = min(self._most_rows, max(1, _LOGITS_AT_ONCE // numbers))
        return output

    def _counted(self, tokens: Tensor | None, latents: Tensor | None, **options: Any) -> Any:
        """Evaluates the denoiser, and counts the rows."""
        rows = tokens if tokens is not None else latents
        assert rows is not None
        self.num_evaluations += len(rows)
        return self.denoiser.denoise(tokens, latents, **options)

    def _token_log_probability(
        self, logits: Tensor, asked: Tensor, of: Tensor, rows: Tensor, revealed: Tensor
    ) -> Tensor:
        """Returns the summed log-probabilities of the rows' revealed tokens, `(n,)`, from logits where `asked`."""
        row, place = revealed[rows].nonzero(as_tuple=True)
        number = (asked.flatten().cumsum(0) - 1).view_as(asked)[of[row], place]
        log_law = logits.double().log_softmax(-1)
        found = log_law[number, self.tokens[rows[row], place]]
        return self._nothing(len(rows)).index_add(0, row, found)

    def _nothing(self, rows: int) -> Tensor:
        return torch.zeros(rows, dtype=torch.float64, device=self.tokens.device)
