"""Training and evaluation data."""

from ladd_hf.data.collator import LaddCollator
from ladd_hf.data.python_docs import python_docs, text8_normalize
from ladd_hf.data.sawtooth import Entropy, SawtoothDistribution, sawtooth_dataset
from ladd_hf.data.tokenizers import byte_level_bpe, character_tokenizer, with_mask_token

__all__ = [
    "Entropy",
    "LaddCollator",
    "SawtoothDistribution",
    "byte_level_bpe",
    "character_tokenizer",
    "python_docs",
    "sawtooth_dataset",
    "text8_normalize",
    "with_mask_token",
]
