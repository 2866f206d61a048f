"""Converts a checkpoint of the LADD authors' research code: `ladd convert` in a checkout.

python examples/convert_checkpoint.py last.ckpt my-model --latent_length 16 --max_position_embeddings 256
"""

from __future__ import annotations

import sys

from ladd_command.jobs import job

main = job("convert.main")  # loads it sooner than an import, which looks for garbage meanwhile

if __name__ == "__main__":
    main(sys.argv[1:])
