"""Reading of `measures` from Python and from command lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..metrics.model_measures import model_measures
from ..utils.plain_data import plain


def measures_from(given: Any) -> list[Any]:
    """Returns measures as plain data: names, or mappings of `name` and options, which a command line gives as JSON.

    Raises `ValueError` for anything else, and the errors of [`model_measures`].
    """
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise ValueError(f"`measures` is {given!r}; give a list of measures, such as ['code_usage'].")
    measures = [_from_json(one) if isinstance(one, str) and one.startswith("{") else one for one in given]
    if wrong := [one for one in measures if not isinstance(one, str | Mapping)]:
        raise ValueError(
            f"`measures` holds {wrong[0]!r}; give names, or mappings of `name` and options: a measure of your own is "
            "registered with `register_model_measure`."
        )
    model_measures(measures)
    return [plain(one) for one in measures]


def better_direction(metric: str, measures: Sequence[Any]) -> str | None:
    """Returns the better direction of a metric that is a number of one of the measures, if it has one."""
    numbers = [number for measure in model_measures(measures) for number in measure.numbers]
    return next((one.better for one in numbers if f"_{metric}".endswith(f"_{one.name}")), None)


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"`measures` holds {text!r}, which is not JSON ({error}): give a mapping such as "
            '\'{"name": "latent_usefulness", "token_times": [0.5, 1.0]}\'.'
        ) from error
