"""Models that are pushed to the Hub take their code along, so that they load where this package is not installed.

`AutoModelForMaskedLM.from_pretrained(repository, trust_remote_code=True)` then finds the modules beside the weights, as
flat files, and reads which class is which in the configuration's `auto_map`. Folders saved locally stay without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel


@contextmanager
def code_included(model: PreTrainedModel, auto_classes: dict[str, type]) -> Iterator[None]:
    """Within it, saving `model` writes its code as well.

    `auto_classes` are its classes by the auto class that is to load them; the model's own is among them.
    """
    config, before = model.config, getattr(model.config, "auto_map", None)
    config.auto_map = {
        auto: f"{one.__module__.rsplit('.', 1)[-1]}.{one.__name__}" for auto, one in auto_classes.items()
    }
    # transformers asks a whole class whether its code is saved; here it is this one model, and for now
    model._auto_class = next(auto for auto, one in auto_classes.items() if isinstance(model, one))
    model.is_remote_code = lambda: True  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model._auto_class, model.is_remote_code
        if before is None:
            del config.auto_map
        else:
            config.auto_map = before
