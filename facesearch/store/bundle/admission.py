"""Who stays out of an import: people and photos that were erased from the gallery, unless they are brought back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facesearch.store.bundle.tables import template_columns, templates_file
from facesearch.store.erasure_list import content_key, name_key, subject_key, vector_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from facesearch.store.bundle.file import BundleReader
    from facesearch.store.decisions import Standing
    from facesearch.store.erasure_list import ErasedEntries


class Admission:
    """Looks rows of a bundle up on the gallery's list of the erased."""

    def __init__(self, standing: Standing, *, is_fresh: bool, bring_back: bool) -> None:
        """`is_fresh` says that ids of the bundle are the gallery's; `bring_back` lets everybody in."""
        self.standing = standing
        self.brought_back: set[str] = set()
        """Entries of the list that name what was let in all the same."""
        self._is_fresh = is_fresh
        self._bring_back = bring_back

    def _stays_out(self, keys: Iterable[str], listed: ErasedEntries) -> bool:
        found = [key for key in keys if listed.names(key)] if len(listed) else []
        if self._bring_back:
            self.brought_back.update(found)
            return False
        return bool(found)

    def is_subject_erased(self, row: Mapping[str, Any], names: Iterable[str]) -> bool:
        """Whether somebody of that name was erased from the gallery, and nobody has been called so since."""
        keys = [name_key(name) for name in names]
        if self._is_fresh:
            keys.append(subject_key(row["id"], row["created_at"]))
        return self._stays_out(keys, self.standing.own)

    def is_content_erased(self, row: Mapping[str, Any], names: Iterable[str]) -> bool:
        """Whether a photo's content was, or was under one of its person's names or its label."""
        sha256 = row["sha256"].hex()
        keys = [content_key(sha256), *(content_key(sha256, name) for name in {*names, row["label"]})]
        return self._stays_out(keys, self.standing.erased)

    def is_face_erased(self, keys: Sequence[str]) -> bool:
        """Whether the entries of a face, as `erased_faces` found them, keep it out."""
        return self._stays_out(keys, self.standing.erased)

    def erased_faces(self, bundle: BundleReader, dimensions: Mapping[int, int]) -> dict[int, list[str]]:
        """The entries that name a vector of a face of the bundle, by the face's id there.

        `dimensions` are those of the bundle's models by their ids there.
        """
        found: dict[int, list[str]] = {}
        for row_id, dimension in dimensions.items() if len(self.standing.erased) else ():
            for rows in bundle.batches(templates_file(row_id), template_columns(dimension)):
                for row in rows:
                    key = vector_key(row["vector"])
                    if self.standing.erased.names(key):
                        found.setdefault(row["face_id"], []).append(key)
        return found
