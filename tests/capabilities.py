"""What a machine may lack. A test that is marked `needs("bf16")` is skipped, with the reason, where bf16 is lacking.

FACESEARCH_TEST_WITHOUT=bf16,proc takes capabilities away from any machine. The tests skip what they would skip on a
machine without them, and the product's own probes find nothing.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

_WITHOUT: Final = frozenset(filter(None, os.environ.get("FACESEARCH_TEST_WITHOUT", "").split(",")))


@dataclass(frozen=True)
class Capability:
    """Something of a machine."""

    lack: str
    """What a skipped test says."""
    is_here: Callable[[], bool]
    probes: dict[str, Any] = field(default_factory=dict)
    """Names of the product's probes, and what stands in for each where the capability is taken away."""


def _computes_bf16() -> bool:
    from facesearch.recognition.openvino_session import computes_bf16

    return find_spec("openvino") is not None and computes_bf16()


def _is_bound_by_permissions() -> bool:
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        path.chmod(0)
        return not os.access(path, os.R_OK)


def _names_files_in_unicode() -> bool:
    try:
        os.fsencode("Zo\u00eb \u732b")
    except UnicodeEncodeError:
        return False
    return True


def _can_serve(address: str, family: socket.AddressFamily) -> bool:
    try:
        with (
            socket.create_server((address, 0), family=family) as server,
            socket.create_connection(server.getsockname()[:2]),
        ):
            return True
    except OSError:
        return False


CAPABILITIES: Final = {
    "bf16": Capability(
        "This processor has no bf16 arithmetic, or OpenVINO is not installed.",
        _computes_bf16,
        {"facesearch.recognition.openvino_session.computes_bf16": lambda: False},
    ),
    "proc": Capability(
        "There is no /proc.",
        lambda: Path("/proc/self/statm").exists(),
        {"facesearch.machine._STATM": "/nowhere/statm"},
    ),
    "loopback": Capability(
        "Nothing can be served on 127.0.0.1: no such address, or no free port.",
        lambda: _can_serve("127.0.0.1", socket.AF_INET),
    ),
    "ipv6": Capability("Nothing can be served on ::1.", lambda: _can_serve("::1", socket.AF_INET6)),
    "permissions": Capability("Permissions of files do not bind root.", _is_bound_by_permissions),
    "unicode_names": Capability("The locale has no names of files in Unicode.", _names_files_in_unicode),
}
"""By the name that marks and FACESEARCH_TEST_WITHOUT use."""


@cache
def lacks(name: str) -> bool:
    """Whether the machine lacks it, or is to be as if it did. `KeyError` for a name that is not in `CAPABILITIES`."""
    return not CAPABILITIES[name].is_here() or name in _WITHOUT


def require(*names: str) -> None:
    """Skip the test where one of these capabilities is lacking."""
    for name in names:
        if lacks(name):
            pytest.skip(CAPABILITIES[name].lack)


@contextmanager
def without_what_is_lacking() -> Iterator[None]:
    """The product's probes find nothing of what FACESEARCH_TEST_WITHOUT names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _WITHOUT:
            for probe, stand_in in CAPABILITIES[name].probes.items():
                patch.setattr(probe, stand_in)
        yield


def describe_lacks() -> str:
    """For the report's header."""
    if unknown := _WITHOUT - set(CAPABILITIES):
        raise pytest.UsageError(f"FACESEARCH_TEST_WITHOUT knows {', '.join(CAPABILITIES)}; not {', '.join(unknown)}.")
    found = [f"{name}{' (taken away)' if name in _WITHOUT else ''}" for name in CAPABILITIES if lacks(name)]
    return f"lacking on this machine: {', '.join(found) or 'nothing'} (tests that need it are skipped)"
