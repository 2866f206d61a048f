"""Checks of the arguments of a [`LaddTrainer`]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase, ProcessorMixin, TrainerCallback

from ..models.adapters import base_model
from ..models.modeling_ladd import LaddForDiffusionLM
from ..utils.wrong_objects import described
from .arguments import LaddTrainingArguments


def check_model_to_train(model: Any) -> None:
    """Raises `ValueError` unless it is a [`LaddForDiffusionLM`], plain, adapted or compiled."""
    inner = model if isinstance(model, str | type) else base_model(model)
    if not isinstance(inner, LaddForDiffusionLM):
        hint = "; a name or folder is loaded by `LaddForDiffusionLM.from_pretrained`" if isinstance(model, str) else ""
        raise ValueError(f"`model` is {described(model)}; give a LaddForDiffusionLM, plain or with adapters{hint}.")


def check_trainer_arguments(
    model: Any,
    args: Any,
    data_collator: Any,
    train_dataset: Any,
    eval_dataset: Any,
    processing_class: Any,
    callbacks: Any,
    others: Mapping[str, Any],
) -> None:
    """Raises `ValueError` for an argument of the wrong type, naming it."""
    if model is not None:
        check_model_to_train(model)
    elif not callable(others.get("model_init")):
        raise ValueError("`model` is None; give a LaddForDiffusionLM, or a `model_init` that makes one.")
    if not isinstance(args, LaddTrainingArguments):
        raise ValueError(f"`args` is {described(args)}; give LaddTrainingArguments, which hold an `output_dir`.")
    if data_collator is not None and (isinstance(data_collator, type) or not callable(data_collator)):
        raise ValueError(
            f"`data_collator` is {described(data_collator)}; give what makes a batch of a list of examples, such as "
            "LaddCollator()."
        )
    check_examples(train_dataset, "train_dataset")
    for name, one in eval_dataset.items() if isinstance(eval_dataset, Mapping) else [(None, eval_dataset)]:
        check_examples(one, "eval_dataset" if name is None else f"eval_dataset[{name!r}]")
    if processing_class is not None and not isinstance(processing_class, PreTrainedTokenizerBase | ProcessorMixin):
        raise ValueError(f"`processing_class` is {described(processing_class)}; give a tokenizer of transformers'.")
    listed = callbacks is None or isinstance(callbacks, list | tuple)
    kinds = [one if isinstance(one, type) else type(one) for one in (callbacks or [])] if listed else []
    if not listed or not all(issubclass(kind, TrainerCallback) for kind in kinds):
        wrong = next((one for one in callbacks if not isinstance(one, TrainerCallback)), None) if listed else callbacks
        raise ValueError(f"`callbacks` holds {described(wrong)}; give a list of TrainerCallback.")


def check_examples(dataset: Any, name: str) -> None:
    """Raises `ValueError` unless it is a data set or a stream of examples."""
    if isinstance(dataset, Mapping):
        raise ValueError(
            f"`{name}` holds the splits {list(dataset)}; give one of them, such as `{name}=data['train']`."
        )
    rows = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if dataset is None or (not isinstance(dataset, str | bytes | type) and (rows or hasattr(dataset, "__iter__"))):
        return
    raise ValueError(
        f"`{name}` is {described(dataset)}; give a data set whose examples have `input_ids` (`load_corpus` and "
        "`token_blocks` make one of texts)."
    )
