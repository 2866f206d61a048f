"""Data sets with a transform (`with_transform`), whose rows are materialised before further use."""

from __future__ import annotations

import datasets


def has_transform(dataset: datasets.Dataset) -> bool:
    """True if a function makes the rows of a data set as they are read."""
    return bool(dataset.format["type"] == "custom")


def with_transform_applied(dataset: datasets.Dataset) -> datasets.Dataset:
    """Returns the data set with the rows of its transform, computed once; one without transform is returned as is.

    The rows are kept until the process ends, and never cached, since a transform cannot be fingerprinted.
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
    """Returns the path of a file that is removed when the process ends."""
    folder = datasets.fingerprint.get_temporary_cache_files_directory()
    return f"{folder}/{datasets.fingerprint.generate_random_fingerprint()}.arrow"
