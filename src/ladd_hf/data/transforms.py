"""Data sets whose rows are made as they are read (`with_transform`), written out where something is made of them."""

from __future__ import annotations

import datasets


def has_transform(dataset: datasets.Dataset) -> bool:
    """Whether a function makes the rows of a data set as they are read."""
    return bool(dataset.format["type"] == "custom")


def with_transform_applied(dataset: datasets.Dataset) -> datasets.Dataset:
    """The data set with the rows that its transform gives, which are made once; itself where it has none.

    They are kept until the process ends, and not found again, since nothing tells what a function will do.
    """
    if not has_transform(dataset):
        return dataset
    applied = dataset.map(
        dict,
        batched=True,
        remove_columns=dataset.column_names,
        new_fingerprint=datasets.fingerprint.generate_random_fingerprint(),
        cache_file_name=passing_file(),
        load_from_cache_file=False,
        desc="Applying the transform",
    )
    return applied.with_format(None)


def passing_file() -> str:
    """The path of a file that is removed when the process ends."""
    folder = datasets.fingerprint.get_temporary_cache_files_directory()
    return f"{folder}/{datasets.fingerprint.generate_random_fingerprint()}.arrow"
