"""Exact laws of runs whose tokens wait for their codes, by enumeration with formulas written down here."""

from __future__ import annotations

import copy
import itertools

import torch

# Whether a code's tokens wait, from the code (the mask as None) before and after a step.
HOLDS = {
    "none": lambda before, after: False,
    "while_written": lambda before, after: before is None and after is not None,
    "until_known": lambda before, after: before is None,
}


def chunked(world):
    """The same world for a model whose tokens are connected to the code of their chunk."""
    world = copy.copy(world)
    world.config = copy.deepcopy(world.config)
    world.config.latent_unpooling = "chunk"
    return world


def own_codes(world):
    """The codes that each token waits for: that of its chunk, or all."""
    if world.config.latent_unpooling == "none":
        return [range(world.codes)] * world.length
    return [[place * world.codes // world.length] for place in range(world.length)]


def waiting_law(world, points, name, start=None):
    """Law `(V^S,)` of the tokens that a run over `points` (t_x, t_y) writes, linear tokens and quadratic codes.

    `start` are the codes at first, all masked by default.
    """
    own, holds = own_codes(world), HOLDS[name]
    states = {((None,) * world.length, start or (None,) * world.codes): 1.0}
    for (t_x, t_y), (s_x, s_y) in itertools.pairwise(points):
        reveal, of_codes = 1 - s_x / t_x if t_x else 0.0, 1 - (s_y / t_y) ** 2 if t_y else 0.0
        after: dict = {}
        for (tokens, codes), mass in states.items():
            said = _predictions(world, tokens, codes)
            for new_codes, chance in _outcomes(codes, said[1], [of_codes] * world.codes):
                held = [holds(*pair) and s_x > 0 for pair in zip(codes, new_codes, strict=True)]
                rates = [0.0 if any(held[code] for code in own[place]) else reveal for place in range(world.length)]
                for new_tokens, of_tokens in _outcomes(tokens, said[0], rates):
                    key = new_tokens, new_codes
                    after[key] = after.get(key, 0.0) + mass * chance * of_tokens
        states = after
    law = torch.zeros([world.vocab] * world.length, dtype=torch.float64)
    for (tokens, _), mass in states.items():
        law[tokens] += mass
    return law.flatten()


def _predictions(world, tokens, codes):
    cache = world.__dict__.setdefault("said", {})
    if (tokens, codes) not in cache:
        ids = torch.tensor([[world.vocab if one is None else one for one in tokens]])
        latents = torch.tensor([[world.codebook if one is None else one for one in codes]])
        of_tokens, of_codes = world.predictions(ids, latents)
        cache[tokens, codes] = of_tokens[0].tolist(), of_codes[0].tolist()
    return cache[tokens, codes]


def _outcomes(values, predictions, rates):
    """Yields what may become of places that move independently, and its probability."""
    each = []
    for value, law, rate in zip(values, predictions, rates, strict=True):
        drawn = [(one, rate * chance) for one, chance in enumerate(law) if rate]
        each.append([(value, 1.0)] if value is not None else [*drawn, *([(None, 1 - rate)] if rate < 1 else [])])
    for combination in itertools.product(*each):
        chance = 1.0
        for _, probability in combination:
            chance *= probability
        yield tuple(value for value, _ in combination), chance
