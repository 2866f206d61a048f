"""Training and evaluation data."""

from .block_stream import BlockStream
from .collator import LaddCollator
from .corpora import HubCorpus, known_corpora, load_corpus, register_corpus
from .package_docs import package_docs
from .precompute import precompute_latents
from .prompt_completions import prompt_completions
from .python_docs import python_docs, text8_normalize
from .sawtooth import Entropy, SawtoothDistribution, sawtooth_dataset
from .text_layout import length_histogram, text_layout
from .token_blocks import token_blocks
from .tokenizers import byte_level_bpe, character_tokenizer, make_tokenizer, with_mask_token

__all__ = [
    "BlockStream",
    "Entropy",
    "HubCorpus",
    "LaddCollator",
    "SawtoothDistribution",
    "byte_level_bpe",
    "character_tokenizer",
    "known_corpora",
    "length_histogram",
    "load_corpus",
    "make_tokenizer",
    "package_docs",
    "precompute_latents",
    "prompt_completions",
    "python_docs",
    "register_corpus",
    "sawtooth_dataset",
    "text8_normalize",
    "text_layout",
    "token_blocks",
    "with_mask_token",
]
