"""Input and output of the latent stream, and the network that denoises latents without tokens. Paper, section 5."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..diffusion.noise_schedules import GaussianSchedule, gaussian_schedule
from .chunks import Chunks, chunk_middles, least_length, range_mask, row_spans
from .configuration_ladd import LaddConfig
from .encoders.trained import rope_theta
from .flow_map import JumpEmbedding
from .latent_options import MlpHead
from .readouts import GlobalReadout, LatentReadout
from .transformer import (
    LaddBlock,
    Modulation,
    OutputHead,
    ResidualMLP,
    Rotary,
    TimestepEmbedding,
    rotary_embedding,
)


class LatentInput(nn.Module):
    """Maps latents to the stream: an MLP D -> 4H -> H, and learned slots for those without rotary positions of their
    own: all of them, or those of the whole text.

    Preconditioned latents are scaled to unit variance before. With `latent_self_conditioning` an estimate of y_0 enters
    the MLP, too.
    """

    def __init__(self, config: LaddConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.latent_dim, 4 * config.hidden_size)
        self.down_proj = nn.Linear(4 * config.hidden_size, config.hidden_size)
        slots = config.latent_positions == "learned"
        count = config.latent_length if slots else config.global_latents
        self.slots = nn.Parameter(torch.zeros(count, config.hidden_size)) if count else None
        preconditioning = config.latent_prediction.preconditioning
        scales = preconditioning is not None and preconditioning.data_std != 1
        self.preconditioning = preconditioning if scales else None
        self.schedule = continuous_schedule(config)
        self.estimate_proj: nn.Linear | None = None
        if config.latent_self_conditioning:
            self.estimate_proj = nn.Linear(config.latent_dim, 4 * config.hidden_size, bias=False)

    def forward(self, vectors: Tensor, timesteps: Tensor | None = None, estimate: Tensor | None = None) -> Tensor:
        """`(B, M, D)` latents at times `(B,)` or `(1,)` to `(B, M, hidden_size)`; without `estimate` `(B, M, D)` it is
        zero.

        Raises `ValueError` without times if the latents are scaled by them.
        """
        if self.preconditioning is not None and self.schedule is not None:
            scale = self.preconditioning.input_scale(self.schedule, of_latents(timesteps))
            vectors = vectors * scale.to(vectors.dtype)
        vectors = vectors.to(self.down_proj.bias.dtype)  # the bias is a float even where weights are quantised
        states = self.up_proj(vectors)
        if self.estimate_proj is not None and estimate is not None:
            states = states + self.estimate_proj(estimate.to(vectors.dtype))
        states = self.down_proj(nn.functional.silu(states))
        if self.slots is None:
            return states
        return states + nn.functional.pad(self.slots, (0, 0, 0, states.shape[1] - len(self.slots)))


class LatentPooling(nn.Module):
    """Adds to each latent's output the states of the tokens in its chunk, concatenated and projected, or for latents of
    the whole text what attention reads of all of them."""

    def __init__(self, config: LaddConfig) -> None:
        super().__init__()
        self.chunks = Chunks(least_length(config), config.max_position_embeddings)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, bias=False)
        self.proj = LatentReadout(self.chunks.size * config.hidden_size, config.hidden_size)
        count, hidden, heads = config.global_latents, config.hidden_size, config.num_attention_heads
        self.global_readout = GlobalReadout(count, hidden, heads, hidden, config.layer_norm_eps) if count else None

    def forward(self, states: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
        """`(B, S, hidden_size)` states of the tokens to `(B, M, hidden_size)`."""
        self.chunks.check(states.shape[1])
        states = self.norm(states)
        of_chunks: Tensor = self.proj(self.chunks.read(states, starts, lengths))
        if self.global_readout is None:
            return of_chunks
        return torch.cat([self.global_readout(states, starts, lengths), of_chunks], dim=1)


class LatentUnpooling(nn.Module):
    """Adds to each token a map of the latent of its chunk, dependent on its position in the chunk, and of its noise
    as `latent_unpooling_time` says; and a map of those of the whole text, the same for all tokens."""

    def __init__(self, config: LaddConfig) -> None:
        super().__init__()
        self.chunks = Chunks(least_length(config), config.max_position_embeddings)
        self.proj = nn.Linear(config.hidden_size, self.chunks.size * config.hidden_size, bias=False)
        self.count = config.global_latents
        of_text = nn.Linear(self.count * config.hidden_size, config.hidden_size, bias=False) if self.count else None
        self.global_proj = of_text
        told = config.latent_unpooling_time
        self.schedule = continuous_schedule(config) if told == "signal" else None
        modulated = told == "modulation"
        self.modulation = Modulation(config.cond_hidden_size, config.hidden_size, count=2) if modulated else None

    def forward(
        self,
        latent_states: Tensor,
        starts: Tensor,
        lengths: Tensor,
        length: int,
        timesteps: Tensor | None = None,
        conditioning: Tensor | None = None,
    ) -> Tensor:
        """`(B, M, hidden_size)` states of the latents to `(B, length, hidden_size)`; 0 at padding.

        Args:
            latent_states: states of the latents.
            starts, lengths: `(B,)` or `(1,)`, the rows' texts.
            length: S.
            timesteps: t_y, `(B,)` or `(1,)`, if the map is scaled by the signal.
            conditioning: `(B, cond_hidden_size)` or `(1, ...)`, the embedded t_y, for a modulation.

        Raises `ValueError` for longer texts than the chunks cover, and without times if they are needed.
        """
        self.chunks.check(length)
        if self.modulation is not None:
            shift, scale = self.modulation(conditioning)
            latent_states = torch.addcmul(shift, latent_states, 1 + scale)
        elif self.schedule is not None:  # the map is linear
            latent_states = latent_states * self.schedule.signal(of_latents(timesteps)).to(latent_states.dtype)
        size = self.chunks.size
        of_text, latent_states = latent_states.tensor_split([self.count], dim=1)
        said = self.proj(latent_states).unflatten(-1, (size, -1)).flatten(1, 2)  # (B, M * size, H)
        chunk, place = self.chunks.places(starts, lengths, length)
        inside = (place >= 0) & (place < size)
        index = (chunk * size + place).where(inside, 0).expand(len(said), -1)
        of_chunks = said.gather(1, index[..., None].expand(-1, -1, said.shape[-1])) * inside[..., None]
        if self.global_proj is None:
            return of_chunks
        real = range_mask(torch.zeros_like(lengths)[:, None], lengths[:, None], starts, length)  # (B or 1, 1, length)
        return of_chunks + self.global_proj(of_text.flatten(1))[:, None] * real.transpose(1, 2)


class LatentHead(nn.Module):
    """Maps the latent stream to D numbers, or K logits over codes or anchors, with an optional wide MLP. Section 5."""

    def __init__(self, config: LaddConfig, cond_hidden_size: int) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.layer_norm_eps
        self.wide: ResidualMLP | None = None
        head, width = config.latent_head_options, hidden
        if isinstance(head, MlpHead):
            self.wide, width = ResidualMLP(hidden, head.hidden_size, head.layers, eps), head.hidden_size
        after_norm = cond_hidden_size if config.reference_layout else 0
        self.output = OutputHead(width, config.latent_output_size, after_norm, eps)
        self.modulation = None if config.reference_layout else Modulation(cond_hidden_size, hidden, count=2)

    def forward(self, states: Tensor, conditioning: Tensor | None) -> Tensor:
        """`(B, M, hidden_size)` to `(B, M, D or K)`."""
        if self.modulation is not None:
            shift, scale = self.modulation(conditioning)
            states, conditioning = torch.addcmul(shift, states, 1 + scale), None
        return self.output(states if self.wide is None else self.wide(states), conditioning)


class LatentDenoiser(nn.Module):
    """The second network of sequential Co-LADD in the paper: maps y_t to its prediction, without tokens.

    Codes are read as their vectors. Those of a network that is not conditioned on t_y have no time embedding.
    """

    def __init__(self, config: LaddConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        with_time = config.latent_type == "continuous" or bool(config.latent_time_conditioning)
        cond = config.cond_hidden_size if with_time else 0
        self.latent_input = LatentInput(config)
        self.time_embedding = TimestepEmbedding(cond, timestep_scale(config)) if with_time else None
        self.jump_embedding = JumpEmbedding(cond) if config.latent_flow_map else None
        self.blocks = nn.ModuleList(
            [
                LaddBlock(config, ("latent",), hidden, config.num_attention_heads, cond)
                for _ in range(config.latent_denoiser_num_layers)
            ]
        )
        self.head = LatentHead(config, cond)

    def forward(
        self,
        latents: Tensor,
        timesteps: Tensor | None,
        estimate: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """`(B, M, D)` latents at `(B,)` times, an estimate of them and the times that steps lead to, if there are any,
        to `(B, M, D or K)`.

        Raises `ValueError` for missing times.
        """
        states = self.latent_input(latents, timesteps, estimate)
        positions = torch.arange(latents.shape[1], device=latents.device)[None]
        rotary = model_rotary(self.config, positions, states.dtype)
        conditioning = None
        if self.time_embedding is not None:
            if timesteps is None:
                raise ValueError("The latent denoiser is conditioned on time: give `latent_timesteps`.")
            conditioning = self.time_embedding(timesteps)
            if self.jump_embedding is not None and targets is not None:
                conditioning = conditioning + self.jump_embedding(timesteps, targets, conditioning)
        for block in self.blocks:
            states, _ = block(states, None, conditioning, rotary)
        return self.head(states, conditioning)


def continuous_schedule(config: LaddConfig) -> GaussianSchedule | None:
    """Returns a(t)^2 of continuous latents, `None` for others."""
    return gaussian_schedule(config.latent_noise_schedule or "") if config.latent_type == "continuous" else None


def of_latents(timesteps: Tensor | None) -> Tensor:
    """Returns times of latents, `(B, 1, 1)` or `(1, 1, 1)` float64. Raises `ValueError` if there are none."""
    if timesteps is None:
        raise ValueError("The noise level of the latents is an input of this model: give `latent_timesteps`.")
    return timesteps.double()[:, None, None]


def timestep_scale(config: LaddConfig) -> float:
    """Returns the factor of times before their sinusoids."""
    return 1 if config.reference_layout else 1000


def model_rotary(config: LaddConfig, positions: Tensor, dtype: torch.dtype) -> Rotary:
    """Returns the rotary embedding at the denoiser's head size."""
    return rotary_embedding(positions, config.hidden_size // config.num_attention_heads, rope_theta(config), dtype)


def stream_positions(
    config: LaddConfig, states: Tensor | None, latent_states: Tensor | None, attention_mask: Tensor | None
) -> Tensor:
    """Returns rotary positions of tokens and latents, `(B, S + M)`, counted from the start of each row's text;
    fractional for latents of chunks, in the middle for those of the whole text (`latent_positions`). Without latents
    `(1, S)`, without tokens `(B, M)`.

    Args:
        states, latent_states: `(B, S, hidden_size)` and `(B, M, hidden_size)` or `None`, for their shapes.
        attention_mask: `(B, S)`, 0 at padding. Without it and without tokens, texts are as long as can be.
    """
    if states is not None and latent_states is None:
        # attention depends only on differences
        return torch.arange(states.shape[1], device=states.device, dtype=torch.float32)[None]
    assert latent_states is not None
    if states is None and attention_mask is None:
        lengths = torch.full((len(latent_states),), config.max_position_embeddings, device=latent_states.device)
        return _latent_positions(config, lengths, latent_states)
    starts, lengths = row_spans(attention_mask, latent_states if states is None else states)
    slots = _latent_positions(config, lengths, latent_states)
    if states is None:
        return slots
    tokens = torch.arange(states.shape[1], device=states.device, dtype=torch.float32)
    return torch.cat([tokens - starts[:, None], slots], dim=1)


def _latent_positions(config: LaddConfig, lengths: Tensor, latent_states: Tensor) -> Tensor:
    """Returns the latents' positions in texts of `lengths` `(B,)`, `(B, M)`."""
    count = latent_states.shape[1]
    slots = torch.arange(count, device=latent_states.device, dtype=torch.float32)
    if config.latent_positions == "learned":
        slots = torch.zeros_like(slots)
    elif config.latent_positions == "concatenated":
        slots = slots + lengths[:, None]
    else:
        of_text = chunk_middles(lengths, 1).expand(-1, config.global_latents)
        slots = torch.cat([of_text, chunk_middles(lengths, count - config.global_latents)], dim=1)
    return slots.expand(len(lengths), -1)
