"""Several samples of each prompt, next to each other, and each with randomness of its own."""

from __future__ import annotations

import pytest
import torch
from helpers.sampling import MASK, clean_latents, seeded


@pytest.mark.parametrize("count", [1, 3])
def test_the_samples_of_a_prompt_follow_one_another(build, tokenizer, scheduler, count):
    pipe = build("discrete", scheduler, tokenizer)
    prompts = ["ab", "cde"]
    found = pipe(prompts, num_steps=4, num_samples_per_prompt=count, generator=seeded())
    assert [text[:2] for text in found.texts] == ["ab"] * count + ["cd"] * count
    written_out = [one for one in prompts for _ in range(count)]
    assert torch.equal(found.sequences, pipe(written_out, num_steps=4, generator=seeded()).sequences)
    assert len(found.sequences.unique(dim=0)) == 2 * count, "no two are the same"


def test_a_list_of_generators_has_one_for_each_sample(build, scheduler):
    pipe = build("discrete", scheduler)
    together = pipe([[1, 2], [3]], num_steps=4, num_samples_per_prompt=3, generator=[seeded(row) for row in range(6)])
    for row in range(6):
        alone = pipe([[1, 2], [3]][row // 3], num_steps=4, generator=seeded(row))
        assert torch.equal(together.sequences[row], alone.sequences[0])
    with pytest.raises(ValueError, match="list of 2 generators for a batch of 6"):
        pipe([[1, 2], [3]], num_steps=4, num_samples_per_prompt=3, generator=[seeded(0), seeded(1)])


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_latents_and_lengths_go_with_their_prompt(build, kind):
    pipe, latents = build(kind), clean_latents(kind, 2)
    found = pipe(latents=latents, length=[5, 8], num_steps=3, num_samples_per_prompt=2, generator=seeded())
    assert found.lengths.tolist() == [5, 5, 8, 8]
    assert torch.equal(found.latents, latents[[0, 0, 1, 1]])
    noised = pipe(latents=latents, strength=0.9, num_steps=3, num_samples_per_prompt=20, generator=seeded()).latents
    assert len(noised.flatten(1).unique(dim=0)) > 4, "each is noised by itself"


def test_without_a_prompt_or_with_one_for_all_there_are_as_many(build):
    pipe = build("none")
    assert pipe(num_steps=2, num_samples_per_prompt=3).sequences.shape == (3, 12)
    found = pipe([1, 2], num_steps=2, length=torch.tensor([4, 6]), num_samples_per_prompt=2)
    assert found.lengths.tolist() == [4, 4, 6, 6] and (found.sequences[:, :2] == torch.tensor([1, 2])).all()
    gaps = pipe([[1, MASK], [MASK, 2, MASK]], num_steps=2, length="prompt", num_samples_per_prompt=2)
    assert gaps.lengths.tolist() == [2, 2, 3, 3] and (gaps.sequences[2:, 1] == 2).all()
    assert pipe([[1], [2]], num_steps=2, batch_size=6, num_samples_per_prompt=3).sequences.shape == (6, 12)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_samples_per_prompt": 0}, "`num_samples_per_prompt` is 0; give a whole number of at least 1"),
        ({"num_samples_per_prompt": 2.0}, "`num_samples_per_prompt` is 2"),
        ({"num_samples_per_prompt": 2, "batch_size": 3}, "`batch_size` is 3, .* makes 4: leave `batch_size` out"),
        ({"num_samples_per_prompt": 2, "length": [3, 4, 5]}, "`prompt` has 2 rows for a batch of 3"),
        ({"num_samples_per_prompt": 2, "latents": torch.zeros(3, 4, dtype=torch.int64)}, "`prompt` has 2 rows"),
    ],
    ids=str,
)
def test_numbers_that_do_not_fit_are_refused(build, options, said):
    with pytest.raises(ValueError, match=said):
        build("discrete")([[1], [2]], num_steps=2, **options)
