"""Writes the tables and plots of `quality_tables.py` anew from its JSON, against another baseline if one is named.

    python benchmarks/redraw_tables.py benchmarks/results/sawtooth_quality.json --baseline "sawtooth-mdlm tuned"

Nothing is measured again: changes, shares and plots follow from the results in the file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from quality_tables import write_tables

from ladd_hf.evaluation.comparison_files import load_comparison


def main() -> None:
    """Writes the table, the plot and the JSON of each file, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("files", nargs="+", type=Path, help="JSON of `quality_tables.py`")
    parser.add_argument("--baseline", help="a recipe and one of its schedules; by default that of the file")
    options = parser.parse_args()
    for file in options.files:
        try:
            comparison = load_comparison(file, options.baseline)
        except (ValueError, OSError) as error:
            parser.error(str(error))
        found = json.loads(file.read_text())
        about = {name: found[name] for name in ("command", "command_note", "training") if name in found}
        print(write_tables(comparison, about, file.with_suffix("")))


if __name__ == "__main__":
    main()
