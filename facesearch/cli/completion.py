"""Shell completion of packs, people and galleries. An error completes nothing, and so does an unprintable name."""

from __future__ import annotations

import glob
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facesearch.errors import FaceSearchError
from facesearch.names import is_file, is_folder
from facesearch.store import subjects

if TYPE_CHECKING:
    from collections.abc import Iterable

    from facesearch.config import Settings


def packs(incomplete: str) -> list[str]:
    """Return the names of packs that can be pulled and of those on this machine."""
    from facesearch.api import FaceSearch

    try:
        with FaceSearch(_settings(None)) as engine:
            known, installed = engine.packs.known(), engine.packs.installed()
            return _beginning(incomplete, [*(each.name for each in known), *(each.name for each in installed)])
    except (FaceSearchError, OSError):
        return []


def people(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names and aliases of people in the gallery that the command line or the environment names."""
    from facesearch.api import FaceSearch

    try:
        with FaceSearch(_settings(ctx.params.get("gallery"))) as engine:
            found = engine.gallery.read(subjects.list_subjects)
            return _beginning(incomplete, (name for each in found for name in (each.name, *each.aliases)))
    except (FaceSearchError, OSError):
        return []


def galleries(incomplete: str) -> list[str]:
    """Return folders that hold a gallery, and with a slash those that may hold one further down."""
    from facesearch.store.sqlite import DATABASE_NAME

    paths = glob.glob(f"{glob.escape(incomplete)}*")  # noqa: PTH207  # keeps a leading ./ as it was typed
    folders = [path for path in paths if is_folder(Path(path))]
    return _beginning(incomplete, (each if is_file(Path(each, DATABASE_NAME)) else f"{each}/" for each in folders))


def _settings(gallery: str | None) -> Settings:
    """Load settings that download nothing. The key of an encrypted gallery comes from the environment or is missing."""
    from facesearch.config import Settings

    return replace(Settings.load(gallery=gallery), offline=True)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    from facesearch.config import completes_for_bash

    found = sorted({name for name in names if name.startswith(incomplete) and name.isprintable()})
    return [re.sub(r"([^\w@%+=:,./-])", r"\\\1", name) for name in found] if completes_for_bash() else found
