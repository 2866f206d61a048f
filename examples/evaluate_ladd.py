"""Evaluates trained models on a corpus: `ladd evaluate` in a checkout.

python examples/evaluate_ladd.py out/python-docs-di/di-ladd --data python-docs
accelerate launch examples/evaluate_ladd.py user/model --data lm1b --num_samples 0 --num_sequences 1000
"""

from __future__ import annotations

import sys

from ladd_command.jobs import job

main = job("evaluate.main")  # loads it sooner than an import, which looks for garbage meanwhile

if __name__ == "__main__":
    main(sys.argv[1:])
