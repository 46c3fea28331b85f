"""Asks whether a standalone master can be reached. Spark itself tries for a minute, and shows nothing but the end of it."""

import re
import socket
import time

from sparktorch_assets.errors import HostError
from sparktorch_assets.masking import without_secrets

_ADDRESSES = re.compile(r"spark://(.+)$")
_WAIT_S = 20.0
_LOOK_S = 0.5


def require_standalone_master(master: str) -> None:
    """Check that one of the addresses in `spark://host:7077,host:7077` can be connected to. Other kinds of masters pass.

    Raises:
        HostError: none of them can, for some seconds: a master that was started a moment ago is waited for.
    """
    found = _ADDRESSES.match(master)
    if found is None:
        return
    until, reasons = time.monotonic() + _WAIT_S, ""
    while True:
        failures = [_failure(address) for address in found[1].split(",")]
        if None in failures:
            return
        reasons = "; ".join(dict.fromkeys(filter(None, failures)))
        if time.monotonic() > until:
            break
        time.sleep(_LOOK_S)
    raise HostError(
        f"no standalone master can be reached at {without_secrets(master)!r} (tried for {_WAIT_S:.0f} s: {reasons}). Start "
        f"it, or correct the address; it is the one that the master shows in its log and on its page"
    )


def _failure(address: str) -> str | None:
    """Why an address cannot be connected to; `None` if it can, or is not one that this function understands."""
    host, _, port = address.rpartition("@")[2].rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_WAIT_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None
