"""Fine-tunes a saved pipeline: `ladd finetune` in a checkout.

accelerate launch examples/finetune_lora.py --pipeline out/sawtooth-di/di-ladd --output_dir out/lora
"""

from __future__ import annotations

import sys

from ladd_command.jobs import job

main = job("finetune.main")  # loads it sooner than an import, which looks for garbage meanwhile

if __name__ == "__main__":
    main(sys.argv[1:])
