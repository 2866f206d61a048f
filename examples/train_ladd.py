"""Trains a recipe: `ladd train` in a checkout.

accelerate launch examples/train_ladd.py
accelerate launch examples/train_ladd.py --config examples/configs/python-docs-di.yaml --seed 1
"""

from __future__ import annotations

import sys

from ladd_command.jobs import job

main = job("train.main")  # loads it sooner than an import, which looks for garbage meanwhile

if __name__ == "__main__":
    main(sys.argv[1:])
