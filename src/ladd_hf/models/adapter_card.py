"""The card of an adapter that is saved without a training run: its base, and how it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from ..utils.local_paths import public_model_name

_GAP = "[More Information Needed]"  # in the cards that transformers and peft make of an empty template
_TEXT = """---
{{ card_data }}
---

# {{ name }}

An adapter ({{ kind }}, of `peft`) for the {{ base }}, a language model of latent-augmented masked diffusion. These are
the adapter's weights alone; how they were trained is not recorded here.

## Use

`pip install ladd_hf`, and then

```python
from ladd_hf import LaddPipeline

pipe = LaddPipeline.from_pretrained({{ pipeline }})
pipe.load_lora_weights({{ repository }})
print(pipe(num_steps=8, batch_size=4))
```
"""


def write_adapter_card(model: Any, folder: Path, repository: str | None = None) -> None:
    """Writes the card of a model's active adapter to its folder, unless that has a card that says something.

    `repository` is its name on the Hub; by default the folder's. The folders of local paths are not shown.
    """
    file = folder / "README.md"
    if file.exists() and not _is_empty(file.read_text(encoding="utf-8")):
        return
    name, source = repository or folder.resolve().name, str(getattr(model, "name_or_path", "") or "")
    base = public_model_name(source) if source else None
    tags = [*model.model_tags, "adapter"]
    card = ModelCard.from_template(
        ModelCardData(library_name="peft", pipeline_tag="text-generation", tags=tags, base_model=base),
        template_str=_TEXT,
        name=name,
        kind=model.peft_config[model.active_adapters()[0]].peft_type.value,
        base=f"model `{base}`" if base else "model that it was made of",
        pipeline=json.dumps(base or "user/base"),
        repository=json.dumps(name),
    )
    card.save(file)


def _is_empty(card: str) -> bool:
    """True for a template of which nothing has been filled in."""
    return card.count(_GAP) >= ModelCard.from_template(ModelCardData()).text.count(_GAP) > 0
