"""Writes many samples of a pipeline to one file: `ladd write` in a checkout.

accelerate launch examples/generate.py --pipeline out/sawtooth-di/di-ladd --num_samples 1000 --num_steps 8
"""

from __future__ import annotations

import sys

from ladd_command.jobs import job

main = job("write.main")  # loads it sooner than an import, which looks for garbage meanwhile

if __name__ == "__main__":
    main(sys.argv[1:])
