"""Give plugins fresh memory of a known content.

Some plugins read memory before they have written it, so their output depends on what the heap held.
The C library of Linux (glibc) can fill all memory that it hands out: with zeros for renders, which
are repeatable then, and with something else for the audit, which finds such plugins.
"""

from __future__ import annotations

import os
import platform
import sys
from functools import cache

# Values of MALLOC_PERTURB_: fresh memory holds their complement.
ZEROS, OTHER_FILL = 255, 1
TUNABLE = "glibc.malloc.tcache_count"  # memory from this cache would not be filled


@cache
def can_fill_memory() -> bool:
    """Return whether the C library is glibc."""
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


def fill_memory(value: int | None = None) -> dict[str, str]:
    """Return environment variables for a process whose fresh memory is filled.

    value  of MALLOC_PERTURB_; None fills with zeros, unless the user has set another value

    Other values that the user has set are kept. Empty where the C library is not glibc.
    """
    if not can_fill_memory():
        return {}
    tunables = [each for each in os.environ.get("GLIBC_TUNABLES", "").split(":") if each]
    if not any(each.startswith(f"{TUNABLE}=") for each in tunables):
        tunables.append(f"{TUNABLE}=0")
    default = os.environ.get("MALLOC_PERTURB_", str(ZEROS))
    perturb = default if value is None else str(value)
    return {"MALLOC_PERTURB_": perturb, "GLIBC_TUNABLES": ":".join(tunables)}
