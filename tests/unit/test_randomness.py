"""A row's random numbers are its own: uniform, independent, and the same in any batch."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from ladd_hf import RowGenerator

ALMOST_NEVER = 1e-4  # p-values below this are failures; the seeds are fixed


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def from_seed(seed, *examples):
    return RowGenerator.from_seed(seed, torch.tensor(examples))


def splitmix64(key, count):
    """The generator of Steele, Lea and Flood in unbounded integers: the definition, without a tensor."""
    limit = (1 << 64) - 1
    numbers = []
    for place in range(1, count + 1):
        z = (key + place * 0x9E3779B97F4A7C15) & limit
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & limit
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & limit
        numbers.append(((z ^ (z >> 31)) >> 11) * 2.0**-53)
    return numbers


# --- rows belong to themselves ---


def test_a_row_draws_the_same_numbers_in_any_batch_and_at_any_place():
    together = from_seed(3, 5, 6, 7, 8)
    turned = from_seed(3, 8, 6, 5, 7)
    alone = [from_seed(3, example) for example in (5, 6, 7, 8)]
    for draw in ("uniform", "normal"):
        rows = getattr(together, draw)(4)
        assert torch.equal(getattr(turned, draw)(4), rows[[3, 1, 0, 2]])
        assert torch.equal(torch.cat([getattr(one, draw)(4) for one in alone]), rows)


def test_a_list_of_generators_equals_the_runs_with_each_of_them():
    rows = RowGenerator.from_generator([seeded(seed) for seed in (1, 2, 3)], 3).uniform(6)
    single = [RowGenerator.from_generator(seeded(seed), 1).uniform(6) for seed in (1, 2, 3)]
    assert torch.equal(rows, torch.cat(single))


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_one_generator_gives_row_i_the_same_stream_in_a_batch_of_any_size(rows):
    most = RowGenerator.from_generator(seeded(0), 130).uniform(3)
    assert torch.equal(RowGenerator.from_generator(seeded(0), rows).uniform(3), most[:rows])


def test_a_generator_moves_on_between_runs():
    generator = seeded(0)
    first, second = (RowGenerator.from_generator(generator, 2).uniform(3) for _ in range(2))
    assert not torch.isin(first, second).any()


def test_without_a_generator_torchs_global_one_decides():
    torch.manual_seed(7)
    first = RowGenerator.from_generator(None, 3).uniform(2)
    other = RowGenerator.from_generator(None, 3).uniform(2)
    torch.manual_seed(7)
    assert torch.equal(RowGenerator.from_generator(None, 3).uniform(2), first)
    assert not torch.equal(first, other)


def test_a_row_generator_is_handed_through_and_keeps_its_place_in_the_stream():
    random = from_seed(0, 1, 2)
    first = random.uniform(3)
    again = RowGenerator.from_generator(random, 2)
    assert again is random
    assert not torch.isin(again.uniform(3), first).any()


# --- the stream ---


def test_a_stream_is_splitmix64_of_its_key():
    keys = [0, 1, 2**62 + 12345, 2**63 - 2]
    numbers = RowGenerator(torch.tensor(keys)).uniform(50)
    assert numbers.tolist() == [splitmix64(key, 50) for key in keys]


def test_a_longer_draw_begins_with_the_shorter_and_moves_later_ones_no_further():
    """So a text's numbers are the same however far its batch is padded."""
    short, long = from_seed(0, 1, 2), from_seed(0, 1, 2)
    for count in (3, 1, 4):
        assert torch.equal(short.uniform(count), long.uniform(count + 5)[:, :count])
    assert torch.equal(short.normal(2, 3), long.normal(4, 3)[:, :2])


def test_each_call_has_numbers_of_its_own():
    random = from_seed(0, *range(50))
    draws = torch.cat([random.bits(20) for _ in range(30)])
    assert draws.unique().numel() == draws.numel()
    assert random.uniform(0).shape == (50, 0)


def test_uniform_numbers_are_uniform_over_rows_and_over_places():
    numbers = from_seed(0, *range(200)).uniform(1000)
    assert numbers.dtype == torch.float64
    assert numbers.min() >= 0 and numbers.max() < 1
    everything, first_of_each_row, one_row = numbers.flatten(), numbers[:, 0], numbers[0]
    for sample in (everything, first_of_each_row, one_row):
        assert stats.kstest(sample.numpy(), "uniform").pvalue > ALMOST_NEVER


@pytest.mark.parametrize("bit", [1, 10, 24, 40, 52, 53])
def test_all_53_bits_of_a_uniform_number_are_fair(bit):
    numbers = from_seed(0, *range(100)).uniform(200).flatten()
    ones = int(((numbers * 2.0**bit).long() % 2).sum())
    assert stats.binomtest(ones, numbers.numel()).pvalue > ALMOST_NEVER


def test_rows_of_consecutive_examples_and_places_of_a_row_are_uncorrelated():
    numbers = from_seed(0, *range(64)).uniform(64) - 0.5
    # A correlation of n pairs of independent numbers has standard deviation n^(-1/2).
    for shift, dim in ((1, 0), (2, 0), (7, 0), (1, 1), (2, 1), (7, 1)):
        correlation = 12 * (numbers * numbers.roll(shift, dim)).mean() * numbers.numel() ** 0.5
        assert abs(correlation) < 4
    between_rows = torch.corrcoef(numbers)[~torch.eye(64, dtype=torch.bool)] * 8
    assert between_rows.abs().max() < 5
    assert between_rows.std() < 1.1


def test_pairs_of_neighbouring_rows_fill_the_square_evenly():
    numbers = from_seed(1, *range(400)).uniform(50)
    cells = (numbers[:-1] * 4).long() * 4 + (numbers[1:] * 4).long()
    assert stats.chisquare(cells.flatten().bincount(minlength=16).numpy()).pvalue > ALMOST_NEVER


def test_normal_numbers_have_the_standard_normal_law_and_its_moments():
    numbers = from_seed(0, *range(100)).normal(500, 2)
    assert numbers.shape == (100, 500, 2) and numbers.dtype == torch.float64
    flat = numbers.flatten()
    assert stats.kstest(flat.numpy(), "norm").pvalue > ALMOST_NEVER
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = (flat**power).mean() - moment
        assert abs(error) < 4 * (variance / flat.numel()) ** 0.5


def test_normal_numbers_are_finite_at_both_ends_of_the_unit_interval(monkeypatch):
    ends = torch.tensor([[0.0, 1 - 2.0**-53, 0.5]], dtype=torch.float64)
    random = from_seed(0, 1)
    monkeypatch.setattr(random, "uniform", lambda *shape: ends)
    low, high, middle = random.normal(3)[0]
    assert torch.isfinite(low) and torch.isfinite(high)
    assert abs(middle) < 1e-12
    assert -9 < low < -8 and 8 < high < 9


# --- keys ---


@pytest.mark.parametrize("seeds", [(0, 1), (1, 2), (0, 2**40), (5, -5)])
def test_streams_of_two_seeds_share_nothing(seeds):
    first, second = (from_seed(seed, *range(300)).uniform(20).flatten() for seed in seeds)
    assert not torch.isin(first, second).any()
    assert abs(stats.pearsonr(first.numpy(), second.numpy()).statistic) < 4 / first.numel() ** 0.5


def test_seed_and_example_do_not_trade_places():
    keys = torch.cat([RowGenerator.from_seed(seed, torch.arange(-1, 100)).keys for seed in range(100)])
    assert len(keys.unique()) == len(keys)


def test_content_keys_depend_on_what_a_row_holds_and_not_on_where_it_stands():
    content = torch.tensor([[1, 2, 3], [3, 2, 1], [0, 0, 0], [1, 2, 3]])
    numbers = RowGenerator.from_content(0, content).uniform(4)
    assert torch.equal(numbers[0], numbers[3])
    assert torch.equal(RowGenerator.from_content(0, content[1:2]).uniform(4), numbers[1:2])
    assert len(numbers[:, 0].unique()) == 3
    assert not torch.isin(RowGenerator.from_content(1, content).uniform(4), numbers).any()


def test_content_keys_tell_any_two_contents_apart():
    every = torch.cartesian_prod(*[torch.arange(-1, 4)] * 4)
    assert len(RowGenerator.from_content(0, every).keys.unique()) == len(every)


# --- what is refused ---


@pytest.mark.parametrize("keys", [torch.zeros(2, 2, dtype=torch.int64), torch.zeros(3), torch.tensor(1)])
def test_keys_that_are_not_a_vector_of_int64_are_refused(keys):
    with pytest.raises(ValueError, match="`keys`"):
        RowGenerator(keys)


@pytest.mark.parametrize("count", [1, 3])
def test_a_list_of_another_length_than_the_batch_is_refused(count):
    with pytest.raises(ValueError, match=f"list of {count} generators for a batch of 2"):
        RowGenerator.from_generator([seeded(i) for i in range(count)], 2)


def test_a_row_generator_of_another_length_than_the_batch_is_refused():
    with pytest.raises(ValueError, match="3 rows, the batch 2"):
        RowGenerator.from_generator(from_seed(0, 1, 2, 3), 2)


def test_streams_aside_leave_the_others_where_they_are_and_differ_from_call_to_call():
    random, alone = RowGenerator.from_seed(0, torch.arange(5)), RowGenerator.from_seed(0, torch.arange(5))
    first = random.aside().uniform(3)
    assert torch.equal(first, random.aside().uniform(3))
    assert torch.equal(random.uniform(3), alone.uniform(3))
    second = random.aside().uniform(3)
    assert torch.equal(random.uniform(3), alone.uniform(3))
    assert len(torch.cat([first, second, alone.branch().uniform(3), alone.uniform(3)]).unique()) == 60
    few = RowGenerator.from_seed(0, torch.tensor([3])).aside().uniform(3)
    assert torch.equal(first[3], few[0])


@pytest.mark.parametrize("seed", [10**30, -(2**63) - 1, 1.5, True, "0", None])
def test_a_seed_that_64_bits_do_not_hold_is_refused(seed):
    with pytest.raises(ValueError, match=r"`seed` is .*; give a whole number that 64 bits hold"):
        from_seed(seed, 0)
