"""Random numbers per example, independent of the batch.

Every row of a batch has a 64-bit key. Its random numbers are fixed functions of the key and of their position in the
row's stream: the SplitMix64 generator of Steele, Lea and Flood (2014), evaluated at any position, for all rows at once.
A sample therefore does not depend on its batch, its row, its padding, the device or the number of processes, and no
loop over rows is needed. One `torch.Generator` or a list of them supplies the keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..utils.number_ranges import SEED_OF_64_BITS
from ..utils.wrong_objects import described


def _signed(value: int) -> int:
    """Returns the 64-bit pattern of `value` as a signed number, as int64 tensors store it."""
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)
_KEY_LIMIT = 2**63 - 1
_PLACES_PER_CALL = 2**32  # of a stream: the numbers of a call do not depend on the counts of earlier calls


def _mix(state: Tensor) -> Tensor:
    """Applies SplitMix64's output function, a bijection in which each input bit changes half of the output bits."""

    def shift_right(value: Tensor, bits: int) -> Tensor:
        return (value >> bits) & ((1 << (64 - bits)) - 1)  # int64 shifts extend the sign: mask it off

    state = (state ^ shift_right(state, 30)) * _MIX_1
    state = (state ^ shift_right(state, 27)) * _MIX_2
    return state ^ shift_right(state, 31)


def bits_to_uniform(bits: Tensor) -> Tensor:
    """Converts the upper 53 of 64 bits to float64 numbers in [0, 1)."""
    return ((bits >> 11) & ((1 << 53) - 1)).to(torch.float64) * 2.0**-53


class RowGenerator:
    """One stream of random numbers per row of a batch.

    Args:
        keys: `(batch_size,)` int64, the rows' keys. Equal keys give equal streams.

    The numbers of a call depend on the key, on the index of the call and on their positions in it. They do not depend
    on the other rows or on the padding of the batch.
    """

    def __init__(self, keys: Tensor) -> None:
        if not isinstance(keys, Tensor):
            raise ValueError(f"`keys` is {described(keys)}; build it by `RowGenerator.from_generator` or `from_seed`.")
        if keys.ndim != 1 or keys.dtype != torch.int64:
            raise ValueError(
                f"`keys` has shape {tuple(keys.shape)} and dtype {keys.dtype}; a vector of int64, one key per row, is "
                "accepted: build it with `RowGenerator.from_generator` or `RowGenerator.from_seed`."
            )
        self.keys = keys
        self._calls = 0

    @classmethod
    def from_generator(
        cls,
        generator: torch.Generator | Sequence[torch.Generator] | RowGenerator | None,
        batch_size: int,
        device: torch.device | str = "cpu",
    ) -> RowGenerator:
        """Draws row keys from one generator (row by row), a list (one key each), or the global generator (`None`).

        With a list, row i equals a single run with generator i. A `RowGenerator` is returned as it is, so that one
        stream can serve a whole run. Raises `ValueError` if a list or a `RowGenerator` does not have `batch_size` rows.
        """
        if isinstance(generator, RowGenerator):
            if len(generator) != batch_size:
                raise ValueError(f"The row generator has {len(generator)} rows, the batch {batch_size}: build it anew.")
            return generator
        if generator is None or isinstance(generator, torch.Generator):
            source = "cpu" if generator is None else generator.device
            keys = torch.randint(_KEY_LIMIT, (batch_size,), generator=generator, device=source)
        else:
            if not isinstance(generator, Sequence) or not all(isinstance(one, torch.Generator) for one in generator):
                raise ValueError(f"`generator` is {generator!r}; give a torch.Generator, or a list with one per row.")
            if len(generator) != batch_size:
                raise ValueError(
                    f"`generator` is a list of {len(generator)} generators for a batch of {batch_size}: give one "
                    "generator, or a list with one per row."
                )
            drawn = [torch.randint(_KEY_LIMIT, (1,), generator=row, device=row.device) for row in generator]
            keys = torch.cat([key.to(device) for key in drawn])
        return cls(keys.to(device))

    @classmethod
    def from_seed(cls, seed: int, examples: Tensor) -> RowGenerator:
        """Derives row keys from a run's seed and each example's number: `examples` is `(batch_size,)` int64.

        Raises `ValueError` for a seed that is not a 64-bit integer.
        """
        SEED_OF_64_BITS.check("seed", seed)
        seed_key = _mix(torch.full((), seed, dtype=torch.int64, device=examples.device) * _GOLDEN)
        return cls(_mix((examples.long() + 1) * _GOLDEN + seed_key))

    @classmethod
    def from_content(cls, seed: int, content: Tensor, mask: Tensor | None = None) -> RowGenerator:
        """Derives row keys from a seed and the rows: `content` `(batch_size, length)` int64, ignored where `mask` is 0.

        Evaluation noise with these keys does not depend on the order, batch or process of an example.
        """
        keys = cls.from_seed(seed, torch.zeros(len(content), dtype=torch.int64, device=content.device)).keys
        counts = torch.ones_like(content, dtype=torch.bool) if mask is None else mask.bool()
        for column, counted in zip(content.long().unbind(1), counts.unbind(1), strict=True):
            keys = torch.where(counted, _mix(keys + (column + 1) * _GOLDEN), keys)
        return cls(keys)

    def __len__(self) -> int:
        return self.keys.shape[0]

    def branch(self) -> RowGenerator:
        """Returns new streams, seeded by one number of each of these, which advance by one call."""
        return RowGenerator(self.bits(1)[:, 0])

    def aside(self) -> RowGenerator:
        """Returns new streams, seeded by the rows' keys and the number of calls so far; these do not advance."""
        calls = torch.full((), self._calls + 1, dtype=torch.int64, device=self.keys.device)
        return RowGenerator(_mix(_mix(self.keys) + calls * _GOLDEN))

    def bits(self, count: int) -> Tensor:
        """Draws random 64-bit integers: `(batch_size, count)` int64."""
        first = self._calls * _PLACES_PER_CALL + 1
        places = torch.arange(first, first + count, device=self.keys.device)
        self._calls += 1
        return _mix(self.keys[:, None] + places * _GOLDEN)

    def uniform(self, *shape: int) -> Tensor:
        """Draws uniform numbers in [0, 1): `(batch_size, *shape)` float64, with all 53 bits of the mantissa random."""
        return bits_to_uniform(self.bits(math.prod(shape))).view(len(self), *shape)

    def normal(self, *shape: int) -> Tensor:
        """Draws standard normal numbers: `(batch_size, *shape)` float64, by inverting the cumulative distribution."""
        # Adding half a unit in the last place, with an upper limit, keeps the argument inside (0, 1).
        return torch.special.ndtri((self.uniform(*shape) + 2.0**-54).clamp(max=1 - 2.0**-53))


# How callers state randomness: one generator, one per row, streams that serve a whole run, or torch's global one.
Generators = torch.Generator | Sequence[torch.Generator] | RowGenerator | None
