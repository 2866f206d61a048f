"""Infos of measurements for `evaluate`, and the kinds of data that these take."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

TEXT = datasets.Value("string")
IDS = datasets.List(datasets.Value("int64"))


def measurement_info(
    description: str, inputs: str, *kinds: Any, citation: str = "", **options: Any
) -> evaluate.MeasurementInfo:
    """Returns the info of a measurement of `data`.

    Args:
        description, citation: of the measurement.
        inputs: arguments and results.
        kinds: features that an entry of `data` may be, such as [`TEXT`] and [`IDS`].
        options: further ones of `evaluate.MeasurementInfo`.
    """
    features = [datasets.Features({"data": kind}) for kind in kinds]
    return evaluate.MeasurementInfo(
        description=description,
        citation=citation,
        inputs_description=inputs,
        features=features if len(features) > 1 else features[0],
        **options,
    )
