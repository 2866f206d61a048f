"""Converts a checkpoint of the LADD authors' research code: `ladd convert` in a checkout.

python examples/convert_checkpoint.py last.ckpt my-model --latent_length 16 --max_position_embeddings 256
"""

from __future__ import annotations

import sys

from ladd_hf.cli.convert import main

if __name__ == "__main__":
    main(sys.argv[1:])
