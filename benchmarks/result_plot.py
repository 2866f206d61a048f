"""Draws the plot at the top of README.md, `docs/pictures/result.png`, from the results at equal entropy.

python benchmarks/result_plot.py
"""

from __future__ import annotations

from text_table import ROOT

from ladd_hf.evaluation.comparison_files import load_comparison
from ladd_hf.evaluation.plots import quality_figure

RESULTS = ROOT / "benchmarks" / "results" / "python-docs-tempered_quality.json"
PICTURE = ROOT / "docs" / "pictures" / "result.png"
_COOL = "temperature 0.6, latent_temperature 0.6"
_WAITING = f"1-1_0.5-0_0-0, steps [3, 1], token_waiting until_known, {_COOL}"
NAMES = {
    "python-docs-mdlm-flops saved, temperature 0.8": "MDLM, temperature 0.8",
    f"python-docs-mdlm-flops saved, {_COOL}": "MDLM, temperature 0.6 (less varied)",
    f"python-docs-di saved, {_COOL}": "Di-LADD sequential",
    f"python-docs-di {_WAITING}": "Di-LADD joint",
    f"python-docs-co saved, {_COOL}": "Co-LADD sequential",
    f"python-docs-co {_WAITING}": "Co-LADD joint",
}


def main() -> None:
    """Writes the picture."""
    quality_figure(load_comparison(RESULTS), names=NAMES).savefig(PICTURE, dpi=90)


if __name__ == "__main__":
    main()
