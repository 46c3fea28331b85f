"""Counts function calls: what a step costs, whatever the machine does meanwhile."""

import gc
import sys
from collections.abc import Callable


def calls(work: Callable[[], object]) -> int:
    """Number of calls of Python and C functions in `work`, on this thread. No garbage is collected meanwhile: finalizers
    and callbacks of other libraries would be counted as well."""
    count = 0

    def counted(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return count
