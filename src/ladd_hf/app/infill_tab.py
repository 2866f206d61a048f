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

# In the browser: the text, and the symbols (not the units of its encoding) between which it is selected.
_SELECTED = """text => {
    const box = document.querySelector("#infill-text textarea");
    return [text, [box.selectionStart, box.selectionEnd].map(end => [...box.value.slice(0, end)].length)];
}"""


def infill_tab(gradio: Any, models: Models, example: str) -> None:
    """Lays out the panel."""
    pipeline, latents = models.pipeline, models.latents != "none"
    gradio.Markdown(
        f"Select a part of the text with the mouse and mask it, or write `{mask_of(pipeline)}` for each token to write."
    )
    text = gradio.Textbox(example, label="Text", lines=3, elem_id="infill-text")
    selection = gradio.JSON([0, 0], visible=False)
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

    def hide(text: str, selection: list[int]) -> str:
        return marked(pipeline, text, *selection)

    def run(text: str, steps: Any, schedule: str, temperature: str, seed: Any) -> Iterator[tuple[str, str]]:
        settings = settings_of("", steps, schedule, temperature, None, None, None, seed)
        for view in filled(pipeline, text, settings):
            yield view.text, view.legend
            time.sleep(0.1)

    mask.click(told(gradio, hide), [text, selection], text, js=_SELECTED, api_name="mask")
    fields = [text, steps, schedule, temperature, seed]
    write.click(told(gradio, run), fields, [result, legend], show_progress="hidden", api_name="infill")
