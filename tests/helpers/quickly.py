"""Starts processes of tests sooner: imports take most of their time, and much of that goes into looking for
garbage that is not there. As a script this file runs another one so."""

from __future__ import annotations

import gc
import runpy
import sys
from pathlib import Path

QUICKLY = __file__  # before the file of a script on a command line
START = "import gc\ngc.disable()\n"  # before the code of a process

if __name__ == "__main__":
    gc.disable()
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
