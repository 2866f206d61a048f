"""Training and evaluation data."""

from ladd_hf.data.collator import LaddCollator
from ladd_hf.data.precompute import precompute_latents
from ladd_hf.data.sawtooth import Entropy, SawtoothDistribution, sawtooth_dataset

__all__ = ["Entropy", "LaddCollator", "SawtoothDistribution", "precompute_latents", "sawtooth_dataset"]
