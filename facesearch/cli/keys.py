"""`facesearch keys`: who may use a server of the gallery."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli.options import GalleryOption, JsonOption, open_engine
from facesearch.cli.root import new_group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facesearch.store.keys import KeyStore


def register(app: typer.Typer) -> None:
    """Add the command group."""
    keys = new_group("API keys of a server: create, list, revoke.")
    keys.command()(create)
    keys.command("list")(list_keys)
    keys.command()(revoke)
    app.add_typer(keys, name="keys")


@contextmanager
def _store(gallery: str | None, *, create: bool = False) -> Iterator[KeyStore]:
    from facesearch.store.keys import KeyStore

    with open_engine(gallery=gallery) as engine:
        if not create:
            yield KeyStore(engine.gallery.database)
            return
        with engine.whole_gallery() as opened:
            yield KeyStore(opened.database)


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the audit calls whoever uses the key.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="read, enroll or delete; may be repeated [default: read]."),
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key and print it, once: the gallery keeps only its hash.

    From its first key on, a server of the gallery asks for one. `read` searches and lists; `enroll` adds photos,
    renames and sets attributes; `delete` removes and merges.

    Example: facesearch keys create web-shop --scope read --scope enroll
    """
    from facesearch.cli.output import emit, note

    scopes = scope or ["read"]
    with _store(gallery, create=True) as store:
        key = store.create(name, scopes)
    if json:
        emit({"name": name, "scopes": sorted(scopes), "key": key})
        return
    note("Store the key now: it cannot be shown again.")
    typer.echo(key)


def list_keys(gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """List the keys by name, with what they may do.

    Example: facesearch keys list
    """
    from facesearch.cli.output import print_records

    with _store(gallery) as store:
        found = store.active()
    records = ({"name": key.name, "scopes": sorted(key.scopes), "created_at": key.created_at} for key in found)
    rows = ((key.name, " ".join(sorted(key.scopes)), key.created_at) for key in found)
    print_records(records, ("key", "scopes", "created"), rows, json=json)


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name.")],
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Revoke a key: running servers refuse it within a second.

    Example: facesearch keys revoke web-shop
    """
    from facesearch.cli.output import emit, note

    with _store(gallery) as store:
        store.revoke(name)
    if json:
        emit({"revoked": name})
    note(f"The key {name} is revoked.")
