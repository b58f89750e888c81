"""The setting ATTNCC_CACHE: how configurations are looked up."""

from __future__ import annotations

import os

from attncc.errors import check_known

SETTING = "ATTNCC_CACHE"
#: Not at all, exact ones, also near ones, or exact ones or an error.
OFF, STRICT, NEAREST, ASSERT = "off", "strict", "nearest", "assert"
SETTINGS = (OFF, STRICT, NEAREST, ASSERT)


def setting() -> str:
    """Return ATTNCC_CACHE, "nearest" where it isn't set; raises ConfigError for another value."""
    value = os.environ.get(SETTING) or NEAREST
    check_known(SETTING, value, SETTINGS)
    return value
