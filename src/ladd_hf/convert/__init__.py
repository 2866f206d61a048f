"""Weights of others: MDLM, and checkpoints of the authors' research code."""
