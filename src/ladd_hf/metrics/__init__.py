"""Measurements of generated sequences, one per file, each usable through `evaluate`."""

from ladd_hf.metrics.sawtooth_likelihood import SawtoothLikelihood

__all__ = ["SawtoothLikelihood"]
