"""Panel of infilling: a part of a text is selected, masked, and written anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from .form import own_field, seed_field, settings_of, steps_field
from .infilling import filled, marked
from .models import Models
from .reading import mask_of
from .settings import SAVED, SCHEDULES
from .users_errors import told


def infill_tab(gradio: Any, models: Models, example: str) -> None:
    """Lays out the panel."""
    pipeline, latents = models.pipeline, models.latents != "none"
    gradio.Markdown(
        f"Select a part of the text with the mouse and mask it, or write `{mask_of(pipeline)}` for each token to write."
    )
    text = gradio.Textbox(example, label="Text", lines=3, elem_id="infill-text")
    selection = gradio.State((0, 0))
    with gradio.Row():
        mask = gradio.Button("Mask what is selected", elem_id="mask")
        write = gradio.Button("Write it", variant="primary", elem_id="fill")
    with gradio.Row():
        steps = steps_field(gradio)
        schedule = gradio.Dropdown(list(SCHEDULES), value=SAVED, label="Schedule", visible=latents)
        temperature = own_field(gradio, "Temperature")
        seed = seed_field(gradio)
    result = gradio.HTML(elem_id="filled", padding=True)
    legend = gradio.HTML(padding=True)

    def keep(event: Any) -> tuple[int, int]:
        first, last = event.index
        return int(first), int(last)

    def hide(text: str, selection: tuple[int, int]) -> tuple[str, tuple[int, int]]:
        return marked(pipeline, text, *selection), (0, 0)

    def run(text: str, steps: Any, schedule: str, temperature: str, seed: Any) -> Iterator[tuple[str, str]]:
        settings = settings_of("", steps, schedule, temperature, None, None, None, seed)
        for view in filled(pipeline, text, settings):
            yield view.text, view.legend
            time.sleep(0.1)

    keep.__annotations__["event"] = gradio.SelectData  # which gradio looks for
    text.select(keep, None, selection, show_progress="hidden", api_visibility="private")
    mask.click(told(gradio, hide), [text, selection], [text, selection], api_visibility="private")
    fields = [text, steps, schedule, temperature, seed]
    write.click(told(gradio, run), fields, [result, legend], show_progress="hidden", api_name="infill")
