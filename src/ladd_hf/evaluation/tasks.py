"""The task of an evaluation: a corpus as a trained pipeline reads it, and its judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data import load_corpus
from ..data.corpora import is_own_file, separator_of
from ..models.chunks import least_length
from ..models.configuration_ladd import LaddConfig
from ..models.text_frame import TextFrame
from ..pipelines import LaddPipeline
from ..tasks import SawtoothTask, Task, TextTask
from ..tasks.judges import JudgeSpec
from ..tasks.sawtooth import JUDGE_HELD_OUT as FRESH_SEQUENCES
from ..tasks.text import DEFAULT_JUDGES, JUDGE_HELD_OUT


def task_for(
    pipeline: LaddPipeline,
    data: str,
    judges: Sequence[JudgeSpec] | None = None,
    num_samples: int | None = None,
    judge_characters: int | None = None,
    split: str | None = None,
    length: int | None = None,
    packing: str | None = None,
    separator: str | None = None,
    special_tokens: bool = True,
    min_tokens: int | None = None,
    data_config: str | None = None,
    **options: Any,
) -> Task:
    """Returns the data of a corpus in the blocks that a pipeline's model was trained on, and judges of its samples.

    Args:
        pipeline: with its model and tokenizer.
        data: `sawtooth`, a corpus by name, or files.
        judges: names or mappings, see `tasks/judges.py`; those of the task by default. The sawtooth's stand beside its
            exact likelihood.
        num_samples: samples that are to be judged, beside as many of the data, by judges that read the training texts.
            With 0 these are not read, and of your own file, unless a split is named, all is held out.
        judge_characters: characters of the training texts that judges read at most; of `TextTask` by default.
        split: that is held out, for bounds and for the data's own scores; `test`, else `validation`, by default.
        length: tokens of a block; the model's longest by default.
        packing: `pack`, `wrap` or `pad`; as in the model's training by default.
        separator: a text between documents; by default as in training: EOS or SEP, else a space, and nothing between
            pieces of one text.
        special_tokens: add those of the tokenizer to documents or blocks.
        min_tokens: of padded texts; by default as many as the model has latents.
        data_config: the configuration of a data set of the Hub, if it has several.
        options: of [`load_corpus`], such as `text_column`.

    Raises `ValueError` for a pipeline without a tokenizer, where the data are texts, for a length beyond the model's
    positions, and for the sawtooth with a model of another vocabulary, or with options that are of texts.
    """
    config = pipeline.model.config
    longest = config.max_position_embeddings
    if length is not None and not 1 <= length <= longest:
        raise ValueError(f"`length` is {length}, but the model has {longest} positions: give 1 to {longest}.")
    length = longest if length is None else length
    if data == "sawtooth":
        of_texts = {"judge_characters": judge_characters, "split": split, "packing": packing, "separator": separator}
        of_texts |= {"data_config": data_config}
        for name, value in {**of_texts, "special_tokens": None if special_tokens else False, **options}.items():
            if value is not None:
                raise ValueError(f"`{name}` is {value!r}, but the sawtooth has no texts that are read: leave it out.")
        task = SawtoothTask(length, judges or (), max(FRESH_SEQUENCES, 2 * (num_samples or 0)))
        if config.vocab_size != task.vocabulary["vocab_size"]:
            raise ValueError(
                f"The model has {config.vocab_size} tokens, and the sawtooth {task.vocabulary['vocab_size']} with its "
                "mask: give a model that was trained on it, or other data."
            )
        return task
    if pipeline.tokenizer is None:
        raise ValueError(f"The pipeline has no tokenizer, which the texts of {data!r} need: give it one.")
    frame = TextFrame.of(config)
    splits, held_out = _splits(data, split, num_samples == 0, {"config": data_config, **options})
    as_in_training = packing in (None, frame.packing)
    packing = packing or frame.packing
    blocks: dict[str, Any] = {} if separator is None else {"separator": separator}
    if not special_tokens or (packing == frame.packing == "pad" and not (frame.start or frame.end)):
        blocks = {"separator": separator, "special_tokens": False}
    given: dict[str, Any] = {} if judge_characters is None else {"judge_characters": judge_characters}
    return TextTask(
        Path(data).resolve().name if Path(data).exists() else data,  # results must not show where files are
        splits,
        pipeline.tokenizer,
        length,
        packing=packing,
        separator=separator_of(data),
        fill="eos" if as_in_training and frame.fill is not None else "padding",
        min_tokens=least_tokens(config) if min_tokens is None else min_tokens,
        judges=DEFAULT_JUDGES if judges is None else list(judges),
        judge_held_out=max(JUDGE_HELD_OUT, 2 * (num_samples or 0)),
        held_out_split=held_out,
        block_options=blocks,
        **given,
    )


def least_tokens(config: LaddConfig) -> int:
    """Returns the number of tokens that a text of a model has at least: one for each latent of a chunk."""
    return 1 if config.latent_type == "none" else least_length(config)


def _splits(data: str, split: str | None, alone: bool, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Returns the splits of a corpus, or the one that is held out `alone`, by name, and the name of that."""
    if alone and split is None and is_own_file(data):
        return {"all": load_corpus(data, "train", held_out=0.0, **options)}, "all"
    if alone and split is not None:
        return {split: load_corpus(data, split, **options)}, split
    splits = load_corpus(data, **options)
    found = split or next((name for name in ("test", "validation") if name in splits), "test")
    if found not in splits:
        raise ValueError(f"{data!r} has no split {found!r}, but {', '.join(map(repr, splits))}: name one of them.")
    if alone:
        return {found: splits[found]}, found
    return dict(splits), found
