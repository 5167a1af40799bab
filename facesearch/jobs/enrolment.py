"""Enrolment: many photos into a gallery, each exactly once, each acknowledged only when it is on disk.

A photo costs a `stat` where nothing changed, a hash where the file was touched, renamed or copied, and a run of the
models only where its bytes are new (`planning`). What was refused is remembered with the policy that refused it.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from facesearch.jobs.knowledge import Knowledge, Todo
from facesearch.jobs.planning import LOOKUP, Batch, Planner, groups_of, stored_outcome
from facesearch.names import path_text
from facesearch.recognition.quality import ENROLL_LIMITS, FaceChoice, FacePolicy, Limits
from facesearch.store import decisions, journal, people, subjects
from facesearch.store import photos as stored_photos
from facesearch.store.changes import NewPhoto
from facesearch.store.erasure_list import vector_key
from facesearch.types import EnrollOutcome, EnrollStatus, Reason, Rejection
from facesearch.walking import is_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from facesearch.jobs.sources import Source
    from facesearch.recognition.extractor import Extraction, Extractor
    from facesearch.search.gallery import Gallery
    from facesearch.store.changes import Applied
    from facesearch.store.photos import StoredPhoto
    from facesearch.types import Candidate, Template

COMMIT = 16
"""Photos per transaction: measured with a small model, storing 16 takes 33 ms (its fsync 1.6 ms) and embedding them
some 300 ms. A crash loses at most these, none of which was acknowledged."""


@dataclass(frozen=True, slots=True)
class EnrollOptions:
    """How to enroll."""

    threshold: float
    """A photo whose face matches another subject at or above this cosine is an identity conflict."""
    faces: FaceChoice = FacePolicy.SINGLE
    limits: Limits = ENROLL_LIMITS
    strict: bool = False
    """Reject identity conflicts instead of reporting them."""
    bring_back_erased: bool = False
    """Enroll people who were forgotten, and take them off the list of the erased."""
    bring_back_removed: bool = False
    """Enroll photos that a person removed."""

    def fingerprint(self, settings: object) -> str:
        """Names this policy and the model settings: a refusal holds only for the policy that made it."""
        text = json.dumps([asdict(self), settings], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Enrolment:
    """One run of `enroll` over one gallery."""

    def __init__(self, gallery: Gallery, extractor: Extractor, options: EnrollOptions) -> None:
        self._gallery = gallery
        self._extractor = extractor
        self._options = options
        self._knows = Knowledge(
            gallery, bring_back_erased=options.bring_back_erased, bring_back_removed=options.bring_back_removed
        )
        policy = options.fingerprint(extractor.info.settings)
        self._planner = Planner(gallery, self._knows, policy, strict=options.strict)
        self._pending: list[tuple[str, Template, Path]] = []
        """Templates of the batch under way, which the index does not know yet, with their subjects and photos."""
        self._run: int | None = None
        """The journal's entry of this run, once there is anything to undo."""

    def run(
        self, sources: Sequence[Source], sync: Sequence[Path] = (), may_hold: Callable[[Path], bool] = lambda _: False
    ) -> Iterator[EnrollOutcome]:
        """Enroll `sources`, one outcome each; those of a group that was committed come together.

        Photos that were enrolled from below the folders of `sync` and are no longer there are removed, before new ones
        are judged: nobody is compared with somebody who goes. `may_hold` says of a path that nobody could look there.
        """
        counts: dict[str, int] = {}
        try:
            for outcome in self._steps(sources, sync, may_hold):
                counts[outcome.status.value] = counts.get(outcome.status.value, 0) + 1
                yield outcome
        finally:
            if self._run is not None:
                self._gallery.write(journal.describe, self._run, counts)

    def _steps(
        self, sources: Sequence[Source], sync: Sequence[Path], may_hold: Callable[[Path], bool]
    ) -> Iterator[EnrollOutcome]:
        for batch in self._planner.look(sources):
            yield from self._commit(batch)
        for batch in self._planner.settle():
            yield from self._commit(batch)
        for folder in sync:
            yield from self._remove_vanished(folder, may_hold)
        yield from self._embed(self._planner.left)
        if sync:
            self._run = self._gallery.write(people.remove_faceless, self._run)

    def _remove_vanished(self, folder: Path, may_hold: Callable[[Path], bool]) -> Iterator[EnrollOutcome]:
        """Remove what was enrolled from below `folder` and is no longer there."""
        below = self._gallery.read(stored_photos.photos_below, folder)
        gone = [photo for photo in below if is_gone(photo.file.path) and not may_hold(photo.file.path)]
        lost = self._lose_everything(gone)
        for group in groups_of(gone, LOOKUP):
            self._run = self._gallery.remove(people.remove_vanished, [photo.file.path for photo in group], self._run)
            for photo in group:
                owner = photo.subjects[0]
                outcome = stored_outcome(photo, owner, EnrollStatus.REMOVED)
                yield replace(outcome, note=f"No photo of {owner} is left." if owner in lost else None)
                lost.discard(owner)  # it is said once
        refused = [path for path in self._gallery.read(decisions.rejected_below, folder) if is_gone(path)]
        self._gallery.write(decisions.forget_rejections, refused)

    def _lose_everything(self, gone: Sequence[StoredPhoto]) -> set[str]:
        """People of whom no photo is left, and for whom this run has none that is new."""
        coming = {todo.name for todo in self._planner.left}
        lost: dict[str, int] = {}
        for photo in gone:
            lost[photo.subjects[0]] = lost.get(photo.subjects[0], 0) + 1
        known = {each.name: each.photos for each in self._gallery.read(subjects.list_subjects)} if lost else {}
        return {name for name, count in lost.items() if known.get(name) == count and name not in coming}

    def _embed(self, todos: Sequence[Todo]) -> Iterator[EnrollOutcome]:
        options = self._options
        photos = self._extractor.extract_many(
            todos, lambda todo: todo.source.read(), policy=options.faces, limits=options.limits
        )
        with closing(photos):
            while group := list(islice(photos, COMMIT)):
                yield from self._commit(self._judge(group))

    # -- after the models

    def _judge(self, photos: Sequence[Extraction[Todo]]) -> Batch:
        """What becomes of them, with one search for all."""
        vectors = np.array([template.vector for photo in photos for template in photo.templates], np.float32)
        made_by, floor = self._extractor.info.model_id, self._options.threshold
        found = iter(self._gallery.search_or_local(vectors, 2, None, made_by, floor)[0] if len(vectors) else ())
        batch = Batch()
        self._pending = []
        for photo in photos:
            candidates = [candidate for each in islice(found, len(photo.templates)) for candidate in each]
            self._take(photo, candidates, batch)
        return batch

    def _take(
        self,
        photo: Extraction[Todo],
        candidates: Sequence[Candidate],
        batch: Batch,
    ) -> None:
        todo = photo.source
        if photo.rejection is not None or photo.size is None:
            assert photo.rejection is not None
            self._refuse(todo, photo.rejection, photo.sha256, batch)
            return
        refusal, subject = self._knows.standing_of(todo, photo.sha256)
        conflict = self._conflict(subject, photo.templates, candidates)
        if refusal is None and conflict is not None and self._options.strict:
            refusal = conflict.rejection
        if refusal is not None:
            self._refuse(todo, refusal, photo.sha256, batch)
            return
        width, height = photo.size
        change = NewPhoto(
            todo.file(photo.sha256),
            subject,
            self._knows.attributes_of(todo),
            width,
            height,
            photo.templates,
            todo.label,
            conflict.other if conflict else None,
        )
        outcome = EnrollOutcome(
            photo=path_text(todo.source.path),
            subject=subject,
            status=EnrollStatus.ENROLLED,
            rejection=conflict.rejection if conflict else None,
            faces=len(photo.templates),
            detection_score=max(template.face.detection_score for template in photo.templates),
            note=photo.note,
        )
        batch.add(outcome, change)
        lifted = self._knows.erased_entries(todo, photo.sha256)
        if lifted:  # an import must not keep out what this brings back
            vectors = (np.asarray(template.vector, "<f4").tobytes() for template in photo.templates)
            batch.lift += [*lifted, *map(vector_key, vectors)]
        self._pending += [(subject, template, todo.source.path) for template in photo.templates]

    def _refuse(self, todo: Todo, rejection: Rejection, sha256: str | None, batch: Batch) -> None:
        outcome = EnrollOutcome(path_text(todo.source.path), todo.name, EnrollStatus.REJECTED, rejection)
        batch.add(outcome, self._planner.refusal(todo, rejection, sha256))

    def _conflict(
        self, subject: str, templates: Sequence[Template], candidates: Sequence[Candidate]
    ) -> _Conflict | None:
        """The strongest match with another subject at or above the threshold, among enrolled and pending templates."""
        others: list[tuple[float, str, int | Path | None]] = [
            (each.score, each.subject, each.template_id) for each in candidates if each.subject != subject
        ]
        strangers = [each for each in self._pending if each[0] != subject]
        if strangers:
            vectors = np.array([template.vector for template in templates], np.float32)
            scores = (vectors @ np.array([template.vector for _, template, _ in strangers]).T).max(axis=0)
            others += [(float(score), name, path) for score, (name, _, path) in zip(scores, strangers, strict=True)]
        score, name, other = max(others, key=lambda each: each[:2], default=(-1.0, "", None))
        if score < self._options.threshold:
            return None
        text = f"It matches {name} with a score of {score:.3f}."
        return _Conflict(Rejection(Reason.IDENTITY_CONFLICT, text), other)

    def _commit(self, batch: Batch) -> Iterator[EnrollOutcome]:
        """Put the batch on disk, then acknowledge it."""
        changes = [change for change, _ in batch.entries if change is not None]
        applied: Iterator[Applied] = iter(())
        if changes:
            commit = self._gallery.apply(changes, self._run, batch.lift)
            self._run, applied = commit.run, iter(commit.applied)
        for change, outcome in batch.entries:
            yield outcome if change is None else _acknowledged(outcome, next(applied))


@dataclass(frozen=True, slots=True)
class _Conflict:
    """A match with another subject."""

    rejection: Rejection
    other: int | Path | None
    """The other's template; the path of the other photo where that is of the same batch."""


def _acknowledged(outcome: EnrollOutcome, applied: Applied) -> EnrollOutcome:
    """The outcome as the commit left it."""
    if applied.kept_attributes:
        keys = ", ".join(applied.kept_attributes)
        outcome = replace(outcome, note=f"{keys}: the value that a person set stays, not the source's new one.")
    if outcome.status is EnrollStatus.REJECTED:
        return outcome
    if applied.twin is None:
        return replace(outcome, template_ids=applied.template_ids)
    if path_text(applied.twin.file.path) == outcome.photo:  # another process enrolled it meanwhile
        return stored_outcome(applied.twin, outcome.subject, EnrollStatus.UNCHANGED)
    text = f"It is the same photo as {path_text(applied.twin.file.path)}."
    duplicate = Rejection(Reason.DUPLICATE, text)
    return EnrollOutcome(outcome.photo, outcome.subject, EnrollStatus.REJECTED, duplicate)
