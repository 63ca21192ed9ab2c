"""Who asks: an address, told apart without being kept."""

import hashlib
import ipaddress
import secrets
from typing import Any

Scope = dict[str, Any]


def header(scope: Scope, name: bytes) -> str:
    """A header's last value; empty where there is none."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[-1].decode("latin-1") if values else ""


class Visitors:
    """`behind_proxy`: the last address in X-Forwarded-For counts, which is what the proxy itself saw; what stands
    before it a visitor can write."""

    def __init__(self, behind_proxy: bool) -> None:
        self._behind_proxy = behind_proxy
        self._salt = secrets.token_bytes(16)

    def of(self, scope: Scope) -> str:
        """Eight digits that are the same for one address while this process runs, and say nothing of it."""
        digest = hashlib.blake2b(self._address(scope).encode(), key=self._salt, digest_size=4)
        return digest.hexdigest()

    def _address(self, scope: Scope) -> str:
        seen = header(scope, b"x-forwarded-for").rpartition(",")[2].strip() if self._behind_proxy else ""
        address = seen or (scope.get("client") or ("",))[0]
        try:
            read = ipaddress.ip_address(address)
        except ValueError:
            return address
        # One visitor has a whole network of these.
        return str(ipaddress.ip_network((read, 64), strict=False)) if read.version == 6 else str(read)
