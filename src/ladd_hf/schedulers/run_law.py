"""The law of a scheduler's runs: its temperatures and orders, and whether a bound is of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..diffusion.channels import LatentChannel
from ..diffusion.masked import TokenSampler
from ..diffusion.token_waiting import Waiting
from ..utils.number_ranges import NOT_NEGATIVE
from .remasking import NoRemasking
from .unmasking import AncestralUnmasking, FirstHittingUnmasking

TEMPERATURE_RANGES = dict.fromkeys(("temperature", "latent_temperature"), NOT_NEGATIVE)


class RunLaw:
    """Part of a scheduler: the law of its runs' samples, beside the model's own."""

    if TYPE_CHECKING:
        config: Any
        _latents: LatentChannel | None
        _unmasking: Any
        _remasking: Any
        _waiting: Waiting | None
        _token_sampler: TokenSampler
        _latent_sampler: TokenSampler

    @property
    def is_ancestral(self) -> bool:
        """True if runs follow the model's own reverse process, whose bound is then that of their samples: `ancestral`
        unmasking without remasking or waiting, at temperature 1, and steps of `ddpm` to latents that are drawn from
        anchors."""
        return self.has_marginal_bound and not self.waits

    @property
    def has_marginal_bound(self) -> bool:
        """True if the marginalised bound, `nelbo` with `run`, `num_proposals` and `token_waiting`, is of the runs'
        samples: as `is_ancestral`, but tokens may wait for latents that have probabilities."""
        own = self._latents is None or (self._latents.has_own_law and not (self.waits and self._latents.ends_noisy))
        ancestral = isinstance(self._unmasking, AncestralUnmasking) and isinstance(self._remasking, NoRemasking)
        return own and ancestral and not self.is_tempered

    @property
    def is_tempered(self) -> bool:
        """True if tokens or latents are drawn at another temperature than 1, so not from the model's own law."""
        return self._token_sampler.temperature != 1 or (
            self._latents is not None and self._latent_sampler.temperature != 1
        )

    @property
    def waits(self) -> bool:
        """True if tokens wait for latents (`token_waiting`), where there are any."""
        return self._waiting is not None and self._latents is not None

    @property
    def is_first_hitting(self) -> bool:
        """True if runs reveal the same number of tokens in each step, at random places, by the model's own law:
        `first_hitting` unmasking without remasking, at temperature 1."""
        first_hitting = isinstance(self._unmasking, FirstHittingUnmasking)
        first_hitting &= self._latents is None or self._latents.has_own_law
        return first_hitting and isinstance(self._remasking, NoRemasking) and not self.is_tempered

    def token_sampler(
        self, temperature: float | None = None, top_p: float = 1.0, top_k: int | None = None
    ) -> TokenSampler:
        """Returns what draws the tokens, by default at the scheduler's own `temperature`.

        Raises `ValueError` for a temperature below 0, a nucleus outside of (0, 1] or a `top_k` below 1.
        """
        return TokenSampler(self._temperature("temperature", temperature), top_p, top_k)

    def latent_sampler(self, temperature: float | None = None) -> TokenSampler:
        """Returns what draws codes or anchors, by default at the scheduler's own `latent_temperature`.

        Raises `ValueError` for a temperature below 0, and for any but 1 where latents are computed, not drawn.
        """
        temperature = self._temperature("latent_temperature", temperature)
        if temperature != 1 and self._latents is not None and not self._latents.is_drawn:
            raise ValueError(
                f"`latent_temperature` is {temperature}, but these latents are computed, not drawn: leave it at 1, or "
                "train with codes or `latent_prediction_type` 'anchors'."
            )
        return TokenSampler(temperature)

    def _temperature(self, name: str, given: float | None) -> float:
        """Returns the temperature of a call, or else the scheduler's own."""
        temperature: float = self.config.get(name, 1.0) if given is None else given
        TEMPERATURE_RANGES[name].check(name, temperature)
        return temperature
