"""Random histories of a gallery's templates: writers, rollbacks, restored backups, and indexes that follow."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
import sqlalchemy as sa

from facesearch.index.cache_file import CacheFile
from facesearch.search.mirror import TrackedIndex
from facesearch.store import models, templates
from facesearch.store.changes import Effect
from facesearch.store.database import read_revision
from facesearch.store.schema import TemplateRow
from facesearch.types import IndexKind
from tests.store.makers import DIMENSION, MODEL, enroll, units

if TYPE_CHECKING:
    from pathlib import Path

    from facesearch.search.gallery import Gallery
    from facesearch.types import Vector

KINDS = (IndexKind.FLAT, IndexKind.FLAT, IndexKind.TWO_STAGE)


class Walk(ABC):
    """Writers in the middle of their transactions, and indexes that catch up at any moment."""

    writers_at_once: ClassVar[int]
    others: ClassVar[tuple[int, ...]]
    """How many changes come at once of which nothing is left."""

    def __init__(self, gallery: Gallery, folder: Path, seed: int) -> None:
        """`folder` is for the caches of the indexes, and for backups."""
        self.database, self.folder, self.choose = gallery.database, folder, random.Random(seed)
        enroll(gallery, "anna", 1)
        with self.database.read() as connection:
            active = models.active_model(connection)
            self.face = int(connection.exec_driver_sql("SELECT id FROM faces").scalar_one())
        assert active is not None
        self.model_row = active[0]
        self.indexes = [self.new_index(place) for place in range(len(KINDS))]
        self.writers: list[Writer] = []
        self.vectors = iter(units(seed, 20_000, DIMENSION))

    @abstractmethod
    def many_others(self, count: int) -> None:
        """Changes that leave nothing behind."""

    @abstractmethod
    def back_up(self) -> None:
        """Keep the database as it is."""

    @abstractmethod
    def restore(self) -> None:
        """Put back what was kept, if anything was: ids are handed out again afterwards."""

    def walk(self, steps: int) -> None:
        """Take some steps; at the end every index equals the database."""
        try:
            for _ in range(steps):
                self.step()
        finally:
            for writer in self.writers:
                writer.undo()
        for live in self.indexes:
            self.look(live)

    def step(self) -> None:
        """One of all that may happen."""
        steps = [self.begin, self.add, self.add, self.remove, self.change, self.commit, self.commit, self.undo]
        steps += [self.look, self.look, self.look, self.pass_by, self.reopen, self.maybe_back_up, self.maybe_restore]
        self.choose.choice(steps)()

    def begin(self) -> None:
        if len(self.writers) < self.writers_at_once:
            self.writers.append(Writer(self))

    def add(self) -> None:
        if self.writers:
            count = self.choose.choice([1, 2, 5] * 15 + [1100])
            self.choose.choice(self.writers).add([next(self.vectors) for _ in range(count)])

    def remove(self) -> None:
        if self.writers:
            writer = self.choose.choice(self.writers)
            ids = writer.free()
            writer.remove(self.choose.sample(ids, min(self.choose.choice([1, 3, len(ids)]), len(ids))))

    def change(self) -> None:
        """Nobody does that, but somebody could."""
        if self.writers:
            writer = self.choose.choice(self.writers)
            ids = writer.free()
            if ids:
                writer.change(self.choose.choice(ids), next(self.vectors))

    def commit(self) -> None:
        if self.writers:
            self.writers.pop(self.choose.randrange(len(self.writers))).commit(self.choose.choice(self.indexes))

    def undo(self) -> None:
        if self.writers and self.choose.random() < 0.3:
            self.writers.pop(self.choose.randrange(len(self.writers))).undo()

    def pass_by(self) -> None:
        if not self.writers or self.writers_at_once > 1:
            self.many_others(self.choose.choice(self.others))

    def maybe_back_up(self) -> None:
        if self.choose.random() < 0.2:
            self.back_up()

    def maybe_restore(self) -> None:
        if not self.writers:
            self.restore()

    def reopen(self) -> None:
        """An index begins with what its cache says, which may be older than what it knew."""
        place = self.choose.randrange(len(self.indexes))
        if self.choose.random() < 0.7:
            self.indexes[place].save(self._cache(place), nullcontext(enter_result=True))
        self.indexes[place] = self.new_index(place)

    def new_index(self, place: int) -> TrackedIndex:
        """With what is in its cache, if there is one."""
        live = TrackedIndex(self.model_row, MODEL, KINDS[place])
        live.load(self._cache(place))
        return live

    def _cache(self, place: int) -> CacheFile:
        folder = self.folder / str(place)
        folder.mkdir(exist_ok=True)
        return CacheFile(folder)

    def look(self, live: TrackedIndex | None = None) -> None:
        """Have an index catch up, and compare it with the database."""
        live = live or self.choose.choice(self.indexes)
        with self.database.read() as connection:
            live.refresh(connection)
            rows = connection.exec_driver_sql("SELECT id, crc, vector FROM templates ORDER BY id").all()
        ids, vectors = live.index.contents()
        order = np.argsort(ids)
        assert ids[order].tolist() == live._ids.tolist() == [row.id for row in rows]
        assert live._checksums.tolist() == [row.crc for row in rows]
        assert vectors[order].tobytes() == b"".join(row.vector for row in rows)


class Writer:
    """One transaction, open over several steps, which keeps off the rows that others changed."""

    def __init__(self, walk: Walk) -> None:
        self.walk, self.effect = walk, Effect()
        self.stack = ExitStack()
        self.connection = self.stack.enter_context(walk.database.write())
        self.before = read_revision(self.connection)
        self.claimed: set[int] = set()

    def free(self) -> list[int]:
        """Templates that nobody else changes, and that this transaction sees as the database is now."""
        with self.walk.database.read() as connection:
            now = {row.id: row.crc for row in connection.exec_driver_sql("SELECT id, crc FROM templates")}
        seen = self.connection.exec_driver_sql("SELECT id, crc FROM templates ORDER BY id").all()
        taken = set().union(*(writer.claimed for writer in self.walk.writers))
        return [key for key, crc in seen if now.get(key) == crc and key not in taken]

    def add(self, vectors: list[Vector]) -> None:
        face, row = self.walk.face, self.walk.model_row
        same = {"face_id": face, "model_id": row, "dimension": DIMENSION}
        sums = [templates.checksum(face, row, vector.tobytes()) for vector in vectors]
        values = [{**same, "vector": vector.tobytes(), "crc": crc} for vector, crc in zip(vectors, sums, strict=True)]
        query = sa.insert(TemplateRow).returning(TemplateRow.id, sort_by_parameter_order=True)
        self.effect.added += zip(self.connection.scalars(query, values).all(), sums, vectors, strict=True)

    def remove(self, ids: list[int]) -> None:
        self.claimed.update(ids)
        self.connection.execute(sa.delete(TemplateRow).where(TemplateRow.id.in_(ids)))
        self.effect.removed += ids

    def change(self, key: int, vector: Vector) -> None:
        self.claimed.add(key)
        crc = templates.checksum(self.walk.face, self.walk.model_row, vector.tobytes())
        changed = sa.update(TemplateRow).where(TemplateRow.id == key).values(vector=vector.tobytes(), crc=crc)
        self.connection.execute(changed)
        self.effect.model_row = -1  # no transaction of a gallery does that: no index takes it over

    def commit(self, live: TrackedIndex) -> None:
        after = read_revision(self.connection)
        self.stack.close()
        live.follow(self.effect, self.before, after)

    def undo(self) -> None:
        with pytest.raises(KeyboardInterrupt), self.stack:
            raise KeyboardInterrupt
