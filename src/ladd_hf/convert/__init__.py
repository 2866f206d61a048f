"""Converters for foreign weights: MDLM, and checkpoints of the authors' research code."""
