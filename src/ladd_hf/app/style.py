"""Looks of the page: fonts of the reader's machine, nothing from a network."""

from __future__ import annotations

from typing import Any

SYSTEM = ["system-ui", "sans-serif"]
MONOSPACED = ["ui-monospace", "DejaVu Sans Mono", "monospace"]

CSS = """
.ladd-pane { background: var(--block-background-fill); border-radius: 8px; padding: 14px; }
.ladd-text { font-family: var(--font-mono); font-size: 1.15rem; line-height: 1.7; white-space: pre-wrap;
    overflow-wrap: anywhere; }
.ladd-step, .ladd-chip { color: #000; border-radius: 3px; }
[id$="-latents"] .ladd-step { display: inline-block; white-space: pre; }
.ladd-new { outline: 1.5px solid var(--body-text-color); font-weight: 700; }
.ladd-mask { color: #8a8a8a; }
.ladd-legend { font-size: .8rem; line-height: 1.9; }
.ladd-legend .ladd-step { padding: 0 .4em; margin: 0 1px; }
.ladd-chip { display: inline-block; padding: 1px 6px; margin: 2px; background: #e3e7ee; font-family: var(--font-mono);
    white-space: pre; text-align: center; }
.ladd-chip small { display: block; }
.ladd-changed { background: #ffb7a5; color: #000; border-radius: 3px; font-weight: 700; }
.ladd-here { border-bottom: 2px solid #d1495b; }
.ladd-codes { font-size: .7rem; font-family: var(--font-mono); border-collapse: collapse; }
.ladd-codes td, .ladd-codes th { padding: 1px 4px !important; text-align: right; border: none !important; }
.ladd-square rect { fill: none; stroke: currentColor; opacity: .6; }
.ladd-square text { fill: currentColor; font-size: 12px; text-anchor: middle; }
.ladd-square line { stroke-width: 5; stroke-linecap: round; }
.ladd-square .ladd-ahead { stroke: #9a9a9a; stroke-width: 1.5; stroke-dasharray: 3 4; }
.ladd-square .ladd-point { fill: #9a9a9a; }
.ladd-square circle.ladd-here { fill: #d1495b; }
"""


def theme(gradio: Any) -> Any:
    """Returns a theme of gradio without fonts to fetch."""
    return gradio.themes.Soft(primary_hue="indigo", font=SYSTEM, font_mono=MONOSPACED)
