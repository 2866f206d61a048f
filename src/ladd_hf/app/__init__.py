"""A page on which a model is played with: what its panels show, as functions of a pipeline, and their layout.

The functions know nothing of the page, and the page (of the extra `app`) is built by [`build_page`].
"""

from .models import Models
from .page import build_page

__all__ = ["Models", "build_page"]
