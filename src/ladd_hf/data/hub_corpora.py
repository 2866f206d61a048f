"""Corpora on the Hub: their locations, their held-out documents, and the cleaning of their texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
from huggingface_hub.errors import HFValidationError

from .fingerprints import code_of
from .missing_texts import present
from .text_files import only_text

# As `datasets` says that a configuration is missing or unknown, with those that there are.
_CONFIGS = re.compile(
    r"(?:Config name is missing|BuilderConfig '.*' not found).*?(?:configs|Available): \[(.*?)\]", re.S
)
# A configuration, as Python and commands take it: there `--config` is a recipe.
CONFIG = "`config` (of a command `--data_config`)"
_OFFLINE = "the corpus 'python-docs' needs no network, and a local file or folder of texts can be given by its path"


@dataclass(frozen=True)
class HubCorpus:
    """A data set of the Hub.

    Args:
        hub_id: its repository.
        split_names: our names of the splits mapped to the Hub's; empty: the Hub's own splits.
        config: its configuration.
        text_column: the column with the texts.
        clean: function applied to each text.
        revision: a commit, or the revision with parquet files if the main one is a script, which `datasets` no longer
            runs.
        data_files: file patterns of each of the Hub's splits, if they must be given.
        remarks: size and licence.
    """

    hub_id: str
    split_names: Mapping[str, str]
    config: str | None = None
    text_column: str = "text"
    clean: Callable[[str], str] | None = None
    revision: str | None = None
    data_files: Mapping[str, str | Sequence[str]] | None = None
    remarks: str = ""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits."""
        return tuple(self.split_names)

    def load(self, split: str, streaming: bool, num_proc: int | None = None, **hub_options: Any) -> Any:
        """See [`Corpus.load`]; raises what [`download`] raises."""
        return self._texts(self.download(self.split_names[split], streaming, **hub_options), num_proc)

    def load_all(self, streaming: bool, num_proc: int | None = None, **hub_options: Any) -> dict[str, Any]:
        """Returns all splits of the Hub, by the Hub's names."""
        by_split = self.download(None, streaming, **hub_options)
        return {name: self._texts(data, num_proc) for name, data in by_split.items()}

    def download(self, hub_split: str | None, streaming: bool, **hub_options: Any) -> Any:
        """Returns one of the Hub's splits as stored there, or a dict of all.

        Raises:
            ConnectionError: no network, and the data set is not in the cache.
            FileNotFoundError: no such data set, revision or file.
            ValueError: a data set that is a script, an invalid name, or a missing or unknown configuration.
        """
        options = {"revision": self.revision, **hub_options}
        if self.data_files is not None:
            wanted = self.data_files if hub_split is None else {hub_split: self.data_files[hub_split]}
            options["data_files"] = dict(wanted)
        name = repr(self.hub_id) + (f" (revision {options['revision']!r})" if options["revision"] else "")
        try:
            return datasets.load_dataset(self.hub_id, self.config, split=hub_split, streaming=streaming, **options)
        except datasets.exceptions.DataFilesNotFoundError as error:
            raise FileNotFoundError(
                f"The data set {name} has not the files that are to be read ({error}): give another `revision`."
            ) from error
        except datasets.exceptions.DatasetNotFoundError as error:
            raise FileNotFoundError(
                f"The Hub shows no data set {name} (or not to you: log in, or give a `token`); {_OFFLINE}."
            ) from error
        except ConnectionError as error:
            raise ConnectionError(
                f"The data set {name} is not in the cache, and the Hub cannot be reached; {_OFFLINE}."
            ) from error
        except HFValidationError as error:
            raise ValueError(
                f"There is no file or folder {self.hub_id!r}, nor can a data set of the Hub be called so: give a path, "
                "or 'user/name'."
            ) from error
        except ValueError as error:
            if configs := _CONFIGS.match(str(error)):
                has = "has several configurations" if self.config is None else f"has no configuration {self.config!r}"
                raise ValueError(f"The data set {name} {has}: give one of {configs[1]} as {CONFIG}.") from error
            if not str(error).startswith("Couldn't find cache"):
                raise
            raise ConnectionError(
                f"Of the data set {name} other files are in the cache than these, and the Hub cannot be reached; "
                f"{_OFFLINE}."
            ) from error
        except RuntimeError as error:
            if "script" not in str(error):
                raise
            raise ValueError(
                f"The data set {name} is a script, which `datasets` no longer runs: give the revision with its parquet "
                "files, if it has one (`revision='refs/convert/parquet'`), or another copy of it."
            ) from error

    def _texts(self, data: Any, num_proc: int | None) -> Any:
        texts = only_text(data, self.text_column, self.hub_id)
        if self.clean is None:
            return texts
        if isinstance(texts, datasets.Dataset):
            return texts.map(_CleanTexts(self.clean), batched=True, num_proc=num_proc)
        return texts.map(_CleanTexts(self.clean))  # row by row, so that it can be resumed at any row


@dataclass(frozen=True)
class HeldOutCorpus(HubCorpus):
    """A data set with only a training split, in several files; its last documents are held out for validation.

    They are the last of the last file, which is read for validation only. So no split reads the other's files, a
    stream of the training split has one shard per file, and streamed or not the documents are the same; the documents
    before the held-out ones in the last file are in neither split.

    Args:
        last_file: number of documents of the last file.
        held_out: number of them that are held out.
    """

    split_names: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "validation": "validation"})
    last_file: int = 0
    held_out: int = 0

    def load(self, split: str, streaming: bool, num_proc: int | None = None, **hub_options: Any) -> Any:
        """See [`Corpus.load`]."""
        data = self.download(self.split_names[split], streaming, **hub_options)
        if split == "validation":
            before = self.last_file - self.held_out
            data = data.skip(before) if streaming else data.select(range(before, len(data)))
        return self._texts(data, num_proc)


class _CleanTexts:
    """Cleans the texts of a row or of a batch. Its attributes determine the name of its output in the cache."""

    def __init__(self, clean: Callable[[str], str]) -> None:
        self.clean = clean
        # as of datasets 5.2.0 an imported function is fingerprinted by its name only (huggingface/datasets#3297); a
        # random fingerprint is never found again
        self.code = code_of(clean) or datasets.fingerprint.generate_random_fingerprint()

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        texts = rows["text"]
        if isinstance(texts, list):
            return {"text": [self.clean(present(text)) for text in texts]}
        return {"text": self.clean(present(texts))}
