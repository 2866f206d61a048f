"""Training and evaluation data."""

from ladd_hf.data.collator import LaddCollator
from ladd_hf.data.sawtooth import Entropy, SawtoothDistribution, sawtooth_dataset

__all__ = ["Entropy", "LaddCollator", "SawtoothDistribution", "sawtooth_dataset"]
