"""The page as a program uses it: every panel answers, errors are sentences, and nothing is fetched from elsewhere."""

from __future__ import annotations

import re
import urllib.request
from importlib.util import find_spec

import pytest
from helpers.missing_packages import hide
from helpers.pages import TEXT, letters, tiny_models

from ladd_hf.app import build_page, start

needs_gradio = pytest.mark.skipif(
    find_spec("gradio") is None, reason='gradio is not installed: `pip install "ladd_hf[app]"` brings it'
)
# the fields of the panel of generation after its cost and its pause
FIELDS = ["ab", 4, "sequential", "", "", 1, "", 3]


@pytest.fixture(scope="module")
def page(stirred_model):
    return build_page(tiny_models(stirred_model))


@pytest.fixture(scope="module")
def address(page):
    (address,) = start(page)
    yield address
    page.close(verbose=False)


@pytest.fixture(scope="module")
def client(address):
    from gradio_client import Client

    return Client(address, verbose=False)


def tabs(page):
    return [block.label for block in page.blocks.values() if type(block).__name__ == "Tab"]


@needs_gradio
def test_it_listens_on_loopback_alone(page, address):
    assert page.server_name == "127.0.0.1" and address.startswith("http://127.0.0.1:")
    assert not page.share and not page.analytics_enabled


@needs_gradio
def test_it_says_which_models_it_is_with(page):
    heading = next(block.value for block in page.blocks.values() if type(block).__name__ == "Markdown")
    assert "The model is `models/own`, beside it `models/mdlm`." in heading


@needs_gradio
def test_a_port_that_is_taken_is_named(stirred_model, page, address):
    with pytest.raises(ValueError, match=f"Port {page.server_port} is taken"):
        start(build_page(tiny_models(stirred_model)), page.server_port)


@needs_gradio
def test_what_it_loads_is_its_own(address):
    with urllib.request.urlopen(address) as answer:
        html = answer.read().decode()
    targets = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"([^\"]+)\"", html)
    assert targets and not [one for one in targets if re.match(r"(https?:)?//", one)]
    with urllib.request.urlopen(f"{address}theme.css") as answer:
        assert not re.search(r"@import|url\([\"']?(https?:)?//", answer.read().decode())


@needs_gradio
def test_every_step_of_a_run_is_shown(client):
    job = client.submit("operations", 0, *FIELDS, api_name="/generate")
    job.result(timeout=60)
    shown = job.outputs()
    own = [one[2] for one in shown]
    assert len(own) >= 4 and "░" in own[0] and "░" not in own[-1]
    assert shown[-1][-1] == "ladd generate models/own ab --steps 4 --schedule sequential --seed 3"
    assert "step 4 of 4" in shown[-1][0] and "<svg" in shown[-1][4] and "<table" in shown[-1][-2]


@needs_gradio
def test_every_panel_answers(client):
    common = [4, "0", 1]
    assert client.predict(TEXT, api_name="/codes").count("ladd-chip") == 4
    chips, texts = client.predict(TEXT, 2, 5, *common, api_name="/exchange")
    assert chips.count("ladd-changed") == 1 and "with the other code" in texts
    assert "ladd-text" in client.predict(TEXT, TEXT[::-1], 0.5, *common, api_name="/mix")
    assert client.predict(TEXT, 0.5, 3, *common, api_name="/vary").count("ladd-text") == 3
    assert client.predict("abcd", [2, 3], api_name="/mask") == "ab[MASK]d"
    text, _ = client.predict("ab[MASK]d", 2, "as saved", "", 0, api_name="/infill")
    assert text.count("ladd-step") == 1


@needs_gradio
def test_what_a_user_cannot_do_is_said_and_the_page_goes_on(client, caplog, capfd, monkeypatch):
    import gradio

    said = []
    monkeypatch.setattr(gradio, "Warning", lambda message, **options: said.append(message))
    for name, values in {
        "/generate": ["leave it out", 0, *FIELDS[:3], "warm", *FIELDS[4:]],
        "/exchange": [TEXT, 9, 0, 4, "0", 1],
        "/mix": ["a", TEXT, 0.5, 4, "0", 1],
        "/mask": ["abcd", [0, 0]],
        "/infill": ["abc", 2, "as saved", "", 0],
    }.items():
        client.predict(*values, api_name=name)
    assert len(said) == 5 and all("not your error" not in one for one in said), said
    assert client.predict(TEXT, api_name="/codes").count("ladd-chip") == 4
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())


@needs_gradio
@pytest.mark.parametrize("kind", ["none", "continuous"])
def test_a_model_has_the_panels_of_its_latents(kind, stirred_model, page):
    assert tabs(page) == ["Generate", "Latents", "Infill"]
    other = build_page(tiny_models(stirred_model, kind))
    assert ("Latents" in tabs(other)) == (kind == "continuous")
    names = {one.api_name for one in other.fns.values()}
    assert ("mix" in names) == (kind == "continuous") and not {"codes", "exchange"} & names


@needs_gradio
def test_ids_do_without_a_tokenizer(stirred_model):
    from ladd_hf.app import Models

    assert build_page(Models(letters(stirred_model("vector"), tokenizer=False), "models/ids"))


def test_without_gradio_the_extra_is_named(stirred_model, monkeypatch):
    hide("gradio", monkeypatch)
    with pytest.raises(ImportError, match=r"ladd_hf\[app\]"):
        build_page(tiny_models(stirred_model))
