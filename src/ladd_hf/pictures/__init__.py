"""Pictures of models and their samples, drawn from data: figures of matplotlib, animations, and coloured text.

The names of the stub beside this file are loaded when they are asked for: text needs nothing of what figures do.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
