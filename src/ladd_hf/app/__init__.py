"""A page on which a model is played with: what its panels show, as functions of a pipeline, and their layout.

The functions know nothing of the page, which is built by [`build_page`] and served by [`start`], and needs the extra
`app`.
"""

from .models import Models
from .page import build_page, start

__all__ = ["Models", "build_page", "start"]
