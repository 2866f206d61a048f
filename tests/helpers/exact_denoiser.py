"""A denoiser that is exact, of texts so short that all of them can be summed over."""

from __future__ import annotations

import itertools

import torch
from torch.nn import functional as F

from ladd_hf.diffusion.channels import EncodedLatents
from ladd_hf.diffusion.masked_channels import DiscreteLatents, MaskedChannel
from ladd_hf.diffusion.noise_schedules import mask_schedule
from ladd_hf.models.modeling_ladd import LaddOutput

V, S, K, M = 3, 3, 3, 2  # tokens and codes of the toy; ids V and K are the masks
SEQUENCES = torch.tensor(list(itertools.product(range(V), repeat=S)))


def random_table(sharpness=1.5):
    """Probabilities of all sequences, `(V^S,)`."""
    return (sharpness * torch.randn(V**S, generator=torch.Generator().manual_seed(0)).double()).softmax(0)


class ExactDenoiser:
    """Posteriors of tokens and codes under a table of probabilities, by summing over all that is consistent.

    It keeps what it is shown in `calls` and `encoded`.

    Args:
        table: `(V^S,)` probabilities of `SEQUENCES`.
        with_codes: whether a text has codes; they tell two of its three tokens apart only in part.
    """

    def __init__(self, table, with_codes=True, token_schedule="linear", code_schedule="polynomial"):
        self.table = table
        self.calls, self.encoded = [], []  # what it was shown
        self.token_channel = MaskedChannel(mask_schedule(token_schedule), V)
        self.latent_channel = DiscreteLatents(mask_schedule(code_schedule), K) if with_codes else None
        self.codes = self._codes(SEQUENCES)

    def encode(self, tokens, attention_mask, random=None, update_codebook=True):
        self.encoded.append(tokens)
        codes, nothing = self._codes(tokens), torch.zeros(len(tokens))
        return EncodedLatents(codes[..., None].float(), nothing, codes, nothing.sum())

    @staticmethod
    def _codes(tokens):
        return torch.stack([(tokens[:, 0] + tokens[:, 1]) % V, (tokens[:, 2] > 0).long()], dim=1)

    def denoise(self, input_ids, latents=None, logits_mask=None, **kwargs):
        self.calls.append({"input_ids": input_ids, "latents": latents, "logits_mask": logits_mask, **kwargs})
        tokens = input_ids[:, None, :S]  # padding beyond is not part of the toy
        consistent = ((tokens == SEQUENCES) | (tokens == V)).all(-1)  # (B, V^S)
        prediction = None
        if latents is not None:
            consistent &= ((latents[:, None] == self.codes) | (latents[:, None] == K)).all(-1)
        weights = consistent * self.table
        if latents is not None:
            prediction = self._log_marginals(weights, self.codes, K)
        logits = self._log_marginals(weights, SEQUENCES, V)
        logits = torch.cat([logits, torch.full_like(logits[..., :1], -torch.inf)], dim=-1)  # the mask token
        logits = F.pad(logits, (0, 0, 0, input_ids.shape[1] - S))
        return LaddOutput(logits=logits[logits_mask], latent_prediction=prediction)

    @staticmethod
    def _log_marginals(weights, values, size):
        return torch.einsum("bn,nsv->bsv", weights, F.one_hot(values, size).double()).log()

    def log_likelihood(self):
        """log p(x) of all sequences."""
        return self.table.log()

    def code_log_likelihood(self):
        """log p(y) of all sequences' codes."""
        same = (self.codes[:, None] == self.codes[None]).all(-1)
        return (same * self.table).sum(1).log()
