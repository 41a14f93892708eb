"""Allowed hosts: the Host header of a request -> whether this server answers for it.

A browser lets a page read what comes from the page's own host. A page of another site can give its host name the
address of this server (DNS rebinding), and then asks it under that name. So a name that is not known to be this
server's is refused. An address cannot be given away like that, nor can a name without a dot.

Left out: the address to listen on (server.py).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*"
_HOST = re.compile(rf"(\[[0-9a-f:.]{{2,45}}\]|{_NAME})\.?(?::[0-9]{{1,5}})?", re.IGNORECASE)
_PATTERN = re.compile(rf"\*|(?:\*\.)?{_NAME}")
_LONGEST = 253  # characters of a name in the DNS
_REMEMBERED = 64  # headers


class AllowedHosts:
    """The hosts that a server answers for.

    Args:
        names: host names and addresses besides the defaults; `*.example.org` stands for all names below
            example.org, and `*` for any host.
        loopback: only this machine reaches the server: localhost and loopback addresses are allowed by default.
            False: localhost, all addresses, and all names without a dot are.

    Raises:
        InputError: a name is none of these.

    Attributes:
        any: every host is allowed.
    """

    def __init__(self, names: Iterable[str], *, loopback: bool) -> None:
        patterns = {_checked(name) for name in names}
        self.any = "*" in patterns
        self._below = tuple(pattern[1:] for pattern in patterns if pattern.startswith("*."))
        self._names = patterns | {"localhost"}
        self._loopback = loopback
        self.allows = lru_cache(_REMEMBERED)(self._allows)

    def _allows(self, header: str) -> bool:
        host = host_of(header)
        if self.any or host is None:
            return self.any
        if host in self._names or host.endswith(self._below):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return not self._loopback and "." not in host
        return address.is_loopback or not self._loopback


def host_of(header: str) -> str | None:
    """Return the name or address in a Host header, in lower case and without its port; None: there is none."""
    match = _HOST.fullmatch(header)
    if match is None or len(match[1]) > _LONGEST:
        return None
    if not header.startswith("["):
        return match[1].lower()
    try:
        return str(ipaddress.IPv6Address(match[1][1:-1]))
    except ValueError:
        return None


def _checked(name: str) -> str:
    """Return a name as `host_of` returns it; InputError: it is not one."""
    plain = name.lower()
    try:
        return str(ipaddress.ip_address(plain.strip("[]")))
    except ValueError:
        if _PATTERN.fullmatch(plain) and len(plain) <= _LONGEST:
            return plain
    raise InputError(
        f"allowed host {name[:100]!r} is not a host name: give it without scheme, port and path, as "
        "qa.example.org; *.example.org stands for all names below example.org, * for any host"
    )
