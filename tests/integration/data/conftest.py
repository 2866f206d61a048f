"""A Hub of data sets in memory."""

from __future__ import annotations

import datasets
import pytest
from datasets import Dataset, DatasetDict


class FakeHub:
    """`datasets.load_dataset` over data sets in memory: `data[id][config]` by the Hub's splits; asked is noted."""

    def __init__(self, data):
        self.data, self.asked = data, []

    def __call__(self, hub_id, config=None, split=None, streaming=False, **options):
        self.asked.append((hub_id, config, split, options))
        splits = self.data[hub_id]
        if streaming:
            splits = {name: rows.to_iterable_dataset(num_shards=min(2, len(rows))) for name, rows in splits.items()}
        return DatasetDict(splits) if split is None else splits[split]


@pytest.fixture
def hub(monkeypatch):
    """`hub({id: {split: rows}})`."""

    def make(data):
        fake = FakeHub({name: {k: Dataset.from_dict(v) for k, v in splits.items()} for name, splits in data.items()})
        monkeypatch.setattr(datasets, "load_dataset", fake)
        return fake

    return make
