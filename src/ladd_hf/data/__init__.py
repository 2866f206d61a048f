"""Training and evaluation data."""

from ladd_hf.data.block_stream import BlockStream
from ladd_hf.data.collator import LaddCollator
from ladd_hf.data.corpora import HubCorpus, known_corpora, load_corpus, register_corpus
from ladd_hf.data.precompute import precompute_latents
from ladd_hf.data.python_docs import python_docs, text8_normalize
from ladd_hf.data.sawtooth import Entropy, SawtoothDistribution, sawtooth_dataset
from ladd_hf.data.text_layout import length_histogram, text_layout
from ladd_hf.data.token_blocks import token_blocks
from ladd_hf.data.tokenizers import byte_level_bpe, character_tokenizer, make_tokenizer, with_mask_token

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
    "precompute_latents",
    "python_docs",
    "register_corpus",
    "sawtooth_dataset",
    "text8_normalize",
    "text_layout",
    "token_blocks",
    "with_mask_token",
]
