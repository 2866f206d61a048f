"""Model cards written from a run: what was trained on what, how, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

TEMPLATE = Path(__file__).with_name("model_card_template.md")


def model_card(
    name: str,
    method: str,
    data: str,
    facts: Mapping[str, Any],
    command: str,
    quality: Mapping[str, Mapping[int, float]],
    measure: str,
    floor: float | None = None,
    num_steps: int = 8,
    tags: Sequence[str] = (),
) -> ModelCard:
    """A card for a trained pipeline.

    Args:
        name: of the model.
        method: `MDLM`, `Co-LADD` or `Di-LADD`.
        data: what it was trained on, in a sentence.
        facts: name and value of everything needed to judge or repeat the run: sizes, steps, EMA, dtype, seed, versions.
        command: that trains it again.
        quality: score by number of evaluations, for each schedule.
        measure: what the scores are, in a sentence.
        floor: what the data itself scores, where it is known.
        num_steps: evaluations in the usage example.
        tags: more tags for the metadata.
    """
    card_data = ModelCardData(
        library_name="diffusers",
        pipeline_tag="text-generation",
        license="apache-2.0",
        tags=["ladd", "masked-diffusion", "diffusion-language-model", *tags],
    )
    budgets = sorted({budget for scores in quality.values() for budget in scores})
    rows = {label: [_cell(scores.get(budget)) for budget in budgets] for label, scores in quality.items()}
    return ModelCard.from_template(
        card_data,
        template_path=str(TEMPLATE),
        name=name,
        method=method,
        data=data,
        facts=facts,
        command=command,
        budgets=budgets,
        rows=rows,
        measure=measure,
        floor=_cell(floor) if floor is not None else None,
        num_steps=num_steps,
    )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
