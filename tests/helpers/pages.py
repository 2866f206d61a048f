"""Tiny models for the page: a letter per token."""

from __future__ import annotations

from helpers.sampling import tiny_tokenizer
from ladd_hf import LaddJointScheduler, LaddPipeline
from ladd_hf.app import Models

TEXT = "abcdefghiabc"


def letters(model, scheduler=None, tokenizer=True):
    """A pipeline of a tiny model."""
    pipe = LaddPipeline(model, scheduler or LaddJointScheduler(), tiny_tokenizer() if tokenizer else None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_models(build, kind="vector"):
    """A model of some kind of latents, and one without beside it; `build` is the fixture `stirred_model`."""
    beside = letters(build("none")) if kind != "none" else None
    return Models(letters(build(kind)), "models/own", beside, "models/mdlm" if beside else "")
