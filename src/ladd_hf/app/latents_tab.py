"""Panel of latents: the codes of a text, one exchanged for another, two texts mixed, and variations of one."""

from __future__ import annotations

import secrets
from typing import Any

from .exchange import drawn_code, exchanged, text_codes
from .form import number, own_field, seed_field, steps_field, whole
from .marked_texts import code_chips, exchanged_texts, mixture, texts
from .mixing import mixed, varied
from .models import Models
from .users_errors import told


def latents_tab(gradio: Any, models: Models, examples: tuple[str, str]) -> None:
    """Lays out the panel; `examples` are two texts."""
    pipeline = models.pipeline
    with gradio.Row():
        steps = steps_field(gradio, 4)
        temperature = own_field(gradio, "Temperature", "0")
        seed = seed_field(gradio)
    common = [steps, temperature, seed]

    def options(steps: Any, temperature: str, seed: Any) -> dict[str, Any]:
        return {
            "num_steps": whole("The number of evaluations", steps),
            "temperature": number("The temperature", temperature),
            "seed": whole("The seed", seed),
        }

    if models.latents == "discrete":
        with gradio.Column(elem_classes="ladd-pane"):
            gradio.Markdown("**Codes of a text.** Exchange one for another, and write again.")
            text = gradio.Textbox(examples[0], label="Text", elem_id="latents-text")
            with gradio.Row():
                show = gradio.Button("Show its codes", elem_id="show-codes")
                place = gradio.Number(1, label="Latent", precision=0, minimum=1)
                code = gradio.Number(0, label="New code", precision=0, minimum=0)
                draw = gradio.Button("Draw a code")
                exchange = gradio.Button("Exchange it", variant="primary", elem_id="exchange")
            chips = gradio.HTML(elem_id="codes")
            result = gradio.HTML(elem_id="exchanged")

        def codes_of(text: str) -> str:
            return code_chips(text_codes(pipeline, text))

        def swap(text: str, place: Any, code: Any, *values: Any) -> tuple[str, str]:
            at = whole("The latent", place) - 1
            found = exchanged(pipeline, text, at, whole("The code", code), **options(*values))
            return code_chips(text_codes(pipeline, text), at), exchanged_texts(found)

        show.click(told(gradio, codes_of), text, chips, api_name="codes")
        draw.click(lambda: drawn_code(pipeline, secrets.randbelow(2**32)), None, code, api_visibility="private")
        exchange.click(told(gradio, swap), [text, place, code, *common], [chips, result], api_name="exchange")

    with gradio.Column(elem_classes="ladd-pane"):
        gradio.Markdown("**Between two texts.** Latents of both, in shares.")
        with gradio.Row():
            first = gradio.Textbox(examples[0], label="First text")
            second = gradio.Textbox(examples[1], label="Second text")
        weight = gradio.Slider(0, 1, 0.5, step=0.05, label="Share of the second text", elem_id="weight")
        mix = gradio.Button("Mix", variant="primary", elem_id="mix")
        between = gradio.HTML(elem_id="mixed")

    def write_between(first: str, second: str, weight: float, *values: Any) -> str:
        return mixture(mixed(pipeline, first, second, weight, **options(*values)))

    gradio.on(
        [mix.click, weight.release],
        told(gradio, write_between),
        [first, second, weight, *common],
        between,
        api_name="mix",
    )

    with gradio.Column(elem_classes="ladd-pane"):
        gradio.Markdown("**Variations.** A text's latents, noised and denoised.")
        original = gradio.Textbox(examples[0], label="Text")
        with gradio.Row():
            strength = gradio.Slider(0, 1, 0.5, step=0.05, label="Strength", info="0 keeps its latents, 1 ignores them")
            count = gradio.Slider(1, 8, 4, step=1, label="Texts")
        vary = gradio.Button("Vary", variant="primary", elem_id="vary")
        variations = gradio.HTML(elem_id="variations")

    def write_variations(text: str, strength: float, count: Any, *values: Any) -> str:
        return texts(varied(pipeline, text, strength, whole("The number of texts", count), **options(*values)))

    vary.click(told(gradio, write_variations), [original, strength, count, *common], variations, api_name="vary")
