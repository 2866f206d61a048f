"""The page: its panels in tabs. Nothing on it is fetched from a network."""

from __future__ import annotations

import os
from typing import Any

from ..utils.optional_packages import optional_package
from .example_texts import example_texts
from .generate_tab import generate_tab
from .infill_tab import infill_tab
from .latents_tab import latents_tab
from .models import Models
from .style import CSS, theme

_PURPOSE = "The page"


def build_page(models: Models) -> Any:
    """Returns the page of a model as `gradio.Blocks`, to be started by [`start`]; a model without latents has no panel
    of latents. Needs the extra `app`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    gradio = optional_package("gradio", "gradio", "app", _PURPOSE)
    first, second = example_texts(models.pipeline)
    with gradio.Blocks(analytics_enabled=False, title="Latent-Augmented Discrete Diffusion") as page:
        gradio.Markdown(
            f"## {models.titles[0]}\nA text comes out of its masks in a few evaluations of the network. Everything "
            f"on this page runs where it was started. {_told(models)}"
        )
        with gradio.Tab("Generate", id="generate"):
            generate_tab(gradio, models)
        if models.latents != "none":
            with gradio.Tab("Latents", id="latents"):
                latents_tab(gradio, models, (first, second))
        with gradio.Tab("Infill", id="infill"):
            infill_tab(gradio, models, first)
    return page


def _told(models: Models) -> str:
    """Returns which models these are, in a sentence."""
    beside = f", beside it `{models.beside_name}`" if models.beside_name else ""
    return f"The model is `{models.name}`{beside}."


def start(page: Any, port: int | None = None, share: bool = False, browser: bool = False) -> list[str]:
    """Serves a page on loopback, or where the environment's `GRADIO_SERVER_NAME` says, while the process goes on
    (`page.block_thread()` waits for Ctrl-C, `page.close()` ends it). Returns its addresses.

    Args:
        page: as [`build_page`] returns it.
        port: `None` takes a free one from 7860 on.
        share: give it a public address for a while, through gradio's servers.
        browser: open it.

    Raises `ValueError` for a port that is taken.
    """
    gradio = optional_package("gradio", "gradio", "app", _PURPOSE)
    try:
        _, local, public = page.launch(
            server_port=port,
            share=share,
            inbrowser=browser,
            prevent_thread_lock=True,
            quiet=True,
            theme=theme(gradio),
            css=CSS,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
        )
    except OSError as error:
        if port is None:
            raise
        raise ValueError(f"Port {port} is taken, or not allowed: give another one, or none for a free one.") from error
    return [str(one) for one in (local, public) if one]
