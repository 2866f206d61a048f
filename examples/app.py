"""A page to play with a model: `ladd demo` in a checkout, and the `app.py` of a Space.

python examples/app.py out/sawtooth-di/di-ladd --no-browser
"""

from __future__ import annotations

import sys

from ladd_command.app import app

if __name__ == "__main__":
    app(["demo", *sys.argv[1:]], prog_name="ladd")
