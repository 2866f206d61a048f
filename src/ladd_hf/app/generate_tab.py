"""Panel of generation: tokens appear step by step, in one model or in two at the same cost."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

from .equal_cost import COSTS, steps_beside
from .form import MOST_STEPS, own_field, seed_field, settings_of, steps_field
from .generation import View, side_by_side
from .models import Models
from .settings import SAVED, SCHEDULES, Settings, command_of
from .users_errors import sentence, told

ALONE = "leave it out"


def generate_tab(gradio: Any, models: Models) -> None:
    """Lays out the panel."""
    latents = models.latents != "none"
    with gradio.Row():
        with gradio.Column(scale=1, min_width=280):
            prompt = gradio.Textbox("", label="Beginning of the text", placeholder="nothing: the model begins itself")
            steps = steps_field(gradio)
            schedule = gradio.Dropdown(list(SCHEDULES), value=SAVED, label="Schedule", visible=latents)
            cost = gradio.Radio(
                [*COSTS, ALONE],
                value=COSTS[0] if models.beside else ALONE,
                label=f"{models.titles[1]} beside it, at equal numbers of",
                visible=models.beside is not None,
            )
            with gradio.Row():
                seed = seed_field(gradio)
                another = gradio.Button("Another seed", size="sm")
            with gradio.Accordion("More settings", open=False):
                temperature = own_field(gradio, "Temperature")
                latent_temperature = own_field(gradio, "Latent temperature", visible=latents)
                guidance = gradio.Slider(
                    0, 5, 1, step=0.1, label="Guidance", info="on the latents; 1 is none", visible=latents
                )
                length = own_field(gradio, "Length")
                pause = gradio.Slider(0, 1, 0.2, step=0.05, label="Seconds between steps", info="to see them")
            write = gradio.Button("Write", variant="primary", elem_id="write")
            line = gradio.Textbox(
                command_of(models, Settings()),
                label="As a command",
                buttons=["copy"],
                interactive=False,
                elem_id="command",
            )
        with gradio.Column(scale=3):
            titles = models.titles[: 1 if models.beside is None else 2]
            panes = [_Pane(gradio, title, f"pane-{number}") for number, title in enumerate(titles)]
            with gradio.Accordion("Codes over time", open=False, visible=models.latents == "discrete"):
                codes = gradio.HTML(elem_id="codes-over-time")
    fields = [prompt, steps, schedule, temperature, latent_temperature, guidance, length, seed]

    def run(which: str, pause: float, *values: Any) -> Iterator[list[Any]]:
        settings = settings_of(*values)
        count = None if which == ALONE else steps_beside(models, settings, which)
        told_steps = [settings.steps, count]
        for pair in side_by_side(models, settings, count):
            shown = list(pair)[: len(panes)]
            updates = [
                one
                for pane, view, number in zip(panes, shown, told_steps, strict=False)
                for one in pane.values(view, number)
            ]
            yield [*updates, pair[0].codes, command_of(models, settings)]
            time.sleep(pause)

    outputs = [*(part for pane in panes for part in pane.parts), codes, line]
    write.click(
        told(gradio, run),
        [cost, pause, *fields],
        outputs,
        show_progress="hidden",
        api_name="generate",
    )
    another.click(lambda: secrets.randbelow(2**32), None, seed, api_visibility="private")

    def command(*values: Any) -> str:
        try:
            return command_of(models, settings_of(*values))
        except ValueError as error:
            return sentence(error)  # in place, while a number is being typed

    gradio.on([field.change for field in fields], command, fields, line, show_progress="hidden", api_name="command")


class _Pane:
    """Text, latents and time square of one model."""

    def __init__(self, gradio: Any, title: str, name: str) -> None:
        with gradio.Row(elem_classes="ladd-pane"):
            with gradio.Column(scale=4):
                self.title = gradio.Markdown(f"**{title}**")
                self.latents = gradio.HTML(elem_id=f"{name}-latents")
                self.text = gradio.HTML(elem_id=name)
                self.legend = gradio.HTML()
            with gradio.Column(scale=1, min_width=250):
                self.square = gradio.HTML(elem_id=f"{name}-square")
        self.name = title
        self.parts = [self.title, self.latents, self.text, self.legend, self.square]

    def values(self, view: View | None, steps: int | None) -> list[str]:
        if view is None:
            return [f"**{self.name}**", "", "", "", ""]
        evaluations = f"{steps} evaluation{'' if steps == 1 else 's'}"
        legend = view.legend if steps is not None and steps <= MOST_STEPS else ""
        title = re.sub(" {2,}", ", ", view.title.strip())
        return [f"**{self.name}**, {evaluations}: {title}", view.latents, view.text, legend, view.square]
