"""Exact denoisers that say something else of latents alone than of latents among masked tokens."""

from __future__ import annotations

import itertools

import torch

from helpers.exact_denoiser import SEQUENCES, ExactDenoiser, S, V, random_table
from helpers.exact_losses import alphas, masked_cross_entropy


class TwoMinds(ExactDenoiser):
    """Believes in one table where it sees the place of tokens, and in another of latents alone."""

    latents_alone = "masked"

    def __init__(self, table=None):
        super().__init__(random_table() if table is None else table)
        self.alone = ExactDenoiser(random_table().flip(0))
        self.alone_rows = self.rows = 0

    def denoise(self, input_ids, latents=None, logits_mask=None, **kwargs):
        if input_ids is not None:
            self.rows += len(input_ids)
            return super().denoise(input_ids, latents, logits_mask, **kwargs)
        self.alone_rows += len(latents)
        hidden = torch.full((len(latents), S), V)
        output = self.alone.denoise(hidden, latents, torch.zeros_like(hidden, dtype=torch.bool))
        output.logits = None
        return output

    def enumerated_run(self, points):
        """Token part and code part of the bound of a run's steps, by summing over all patterns of masks."""
        parts = [torch.zeros(len(SEQUENCES), dtype=torch.float64) for _ in range(2)]
        for start, end in itertools.pairwise(points):
            now, then = alphas(*start), alphas(*end)
            minds = self, self.alone if start[0] == 1 else self
            for channel, mind in enumerate(minds):
                if then[channel] > now[channel]:
                    term = masked_cross_entropy(mind, *now)[channel]
                    parts[channel] += (then[channel] - now[channel]) / (1 - now[channel]) * term
        return parts
