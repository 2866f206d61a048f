"""The suite notices when the mathematics is broken: five of the mutations, one of each kind, are tried."""

from __future__ import annotations

import pytest
from mutations import MUTATIONS, survives


@pytest.mark.parametrize(
    "name",
    [
        "flip the sign of the DDIM direction",
        "swap alpha_s and alpha_t",
        "drop the weight of the bound",
        "draw with float32 Gumbel noise",
        "forget the last step",
    ],
)
def test_the_suite_notices(name):
    (mutation,) = (m for m in MUTATIONS if m.name == name)
    assert not survives(mutation)
