"""Vector databases that can hold a gallery's vectors. A new one is a line of `VectorDatabaseKind` and a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from facesearch.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from facesearch.index.base import ExternalIndex


class VectorDatabaseKind(StrEnum):
    """A vector database: its name in commands, and its file in this folder, which has a class `Service`."""

    PGVECTOR = "pgvector"
    MILVUS = "milvus"

    @property
    def is_within(self) -> bool:
        """Whether it is in the gallery's own database, and told of a change in the transaction that makes it."""
        return self is VectorDatabaseKind.PGVECTOR

    @property
    def setting(self) -> str:
        """The environment variable with the address of its server, where it has one."""
        return f"FACESEARCH_{self.upper()}"


@dataclass(frozen=True, slots=True)
class VectorServer:
    """Where a vector database is, and what it wants to know of whoever asks."""

    address: str
    """`http://host:port`."""
    token: str | None = field(default=None, repr=False)


class VectorService(Protocol):
    """One connection to a vector database, opened when it is first needed. Errors are `VectorDatabaseError`s.

    A vector database within the gallery's own is given the connection to that; the others get None.
    """

    leaves: str
    """Where removed vectors stay for a while, in words; empty where they stay nowhere."""

    def require(self, connection: Connection | None) -> None:
        """Raise `GalleryError` unless indexes can be made in it."""

    def open(self, connection: Connection | None, name: str, dimension: int, position: int) -> ExternalIndex:
        """Return the index of that name, which may have to be created; it shows changes up to `position` at least."""

    def drop(self, connection: Connection | None, beginning: str) -> None:
        """Remove every index whose name begins like that."""

    def close(self) -> None:
        """Close the connection."""


def open_service(kind: VectorDatabaseKind, server: VectorServer | None) -> VectorService:
    """Return the vector database. Raises `ConfigError` where it is on a server and nobody said where that is."""
    if server is None and not kind.is_within:
        raise ConfigError(
            f"The gallery's vectors belong in {kind.title()}, and it is not known where that is.",
            f"Say where: {kind.setting}=http://host:port",
        )
    return cast("VectorService", import_module(f"facesearch.index.{kind}").Service(server))
