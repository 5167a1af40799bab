"""Enrolment: many photos into a gallery, each exactly once, each acknowledged only when it is on disk.

A photo costs a `stat` where nothing changed, a hash where the file was touched, renamed or copied, and a run of the
models only where its bytes are new. What was refused is remembered with the policy that refused it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from facesearch.errors import FaceSearchError, PhotoError
from facesearch.gallery.photos import MovedPhoto, NewPhoto, PhotoFile, StoredPhoto
from facesearch.gallery.rejections import RefusedPhoto, StoredRejection
from facesearch.gallery.subjects import clean_name
from facesearch.gallery.uploads import is_upload
from facesearch.names import path_text, printable
from facesearch.types import EnrollOutcome, EnrollStatus, Reason, Rejection
from facesearch.vision.quality import ENROLL_LIMITS, FaceChoice, FacePolicy, Limits
from facesearch.walking import cause_of, is_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from facesearch.engine.sources import Source
    from facesearch.gallery.changes import Change
    from facesearch.gallery.gallery import Gallery
    from facesearch.types import Candidate, Template
    from facesearch.vision.encoder import Encoder
    from facesearch.vision.photo_steps import EncodedPhoto

Item = TypeVar("Item")

LOOKUP = 64
"""Photos looked up in the database at a time: less than the models take for those that are under way."""
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

    def fingerprint(self, settings: object) -> str:
        """Names this policy and the model settings: a refusal holds only for the policy that made it."""
        text = json.dumps([asdict(self), settings], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Todo:
    """A photo that has to go through the models."""

    source: Source
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class _Looked:
    """A photo file, what the gallery has at its path, and its content where its size or time differ from that."""

    todo: _Todo
    subject: str
    enrolled: StoredPhoto | None
    refused: StoredRejection | None
    sha256: str | None


@dataclass(slots=True)
class _Batch:
    """What to report, each with the change that has to be committed before, if any."""

    entries: list[tuple[Change | None, EnrollOutcome]] = field(default_factory=list)
    pending: list[tuple[str, Template]] = field(default_factory=list)
    """Templates in `entries`, which the index does not know yet."""

    def add(self, outcome: EnrollOutcome, change: Change | None = None) -> None:
        self.entries.append((change, outcome))


class Enrolment:
    """One run of `enroll` over one gallery."""

    def __init__(self, gallery: Gallery, encoder: Encoder, options: EnrollOptions) -> None:
        self._gallery = gallery
        self._encoder = encoder
        self._options = options
        self._policy = options.fingerprint(encoder.info.settings)
        self._contents: dict[tuple[str, str], Path] = {}
        """Where this run met a content first, by subject and SHA-256."""
        self._attributes: dict[str, Mapping[str, str]] = {}

    def run(self, sources: Sequence[Source]) -> Iterator[EnrollOutcome]:
        """Enroll `sources`, one outcome each; those of a group that was committed come together."""
        if any(source.attributes for source in sources):
            self._attributes = {subject.name: subject.attributes for subject in self._gallery.subjects()}
        options = self._options
        with self._encoder.open_pipeline(_load, policy=options.faces, limits=options.limits) as pipeline:
            encoded: list[EncodedPhoto[_Todo]] = []
            for group in groups_of(sources, LOOKUP):
                settled = _Batch()
                todo = self._look_up(group, settled)
                yield from self._commit(settled)
                for each in todo:
                    pipeline.put(each)
                    encoded += pipeline.ready()
                    if len(encoded) >= COMMIT:
                        yield from self._commit(self._judge(encoded))
                        encoded = []
            for photo in pipeline.rest():
                encoded.append(photo)
                if len(encoded) >= COMMIT:
                    yield from self._commit(self._judge(encoded))
                    encoded = []
            yield from self._commit(self._judge(encoded))

    def remove_vanished(self, folder: Path, may_hold: Callable[[Path], bool]) -> Iterator[EnrollOutcome]:
        """Remove what was enrolled from below `folder` and is no longer there; `may_hold` says what nobody knows of."""
        below = self._gallery.photos_below(folder)
        gone = [photo for photo in below if is_gone(photo.file.path) and not may_hold(photo.file.path)]
        for group in groups_of(gone, LOOKUP):
            self._gallery.remove_photos([photo.file.path for photo in group])
            for photo in group:
                yield _stored_outcome(photo, photo.subjects[0], EnrollStatus.REMOVED)
        self._gallery.forget_vanished_rejections(folder)

    # -- before the models: what is known already

    def _look_up(self, sources: Sequence[Source], batch: _Batch) -> list[_Todo]:
        """Settle those that need no models; the others."""
        paths = [source.path for source in sources]
        enrolled, refused = self._gallery.find_photos(paths), self._gallery.find_rejections(paths)
        looked = [self._look(source, enrolled.get(source.path), refused.get(source.path)) for source in sources]
        hashes = {each.sha256 for each in looked if isinstance(each, _Looked) and each.sha256}
        copies = self._gallery.photos_of_contents(hashes) if hashes else {}
        todo: list[_Todo] = []
        for each in looked:
            if isinstance(each, EnrollOutcome):
                batch.add(each)
            elif not self._settle(each, copies, batch):
                todo.append(each.todo)
        return todo

    def _look(
        self, source: Source, enrolled: StoredPhoto | None, refused: StoredRejection | None
    ) -> _Looked | EnrollOutcome:
        """Size and time of the file and, unless they are known, its hash; the outcome where there is no such file."""
        try:
            subject = clean_name(source.subject)
            same_stat = source.status()
        except FaceSearchError as error:
            return _rejected(source, Rejection(Reason.UNREADABLE, error.message))
        except OSError as error:
            why = Rejection(Reason.INACCESSIBLE, f"The photo cannot be read: {cause_of(error)}.")
            return _rejected(source, why)
        todo = _Todo(source, *same_stat)
        if enrolled is not None and same_stat == (enrolled.file.size, enrolled.file.mtime_ns):
            return _Looked(todo, subject, enrolled, None, None)
        if refused is not None and refused.policy == self._policy and same_stat == (refused.size, refused.mtime_ns):
            return _Looked(todo, subject, None, refused, None)
        try:
            sha256 = hashlib.sha256(source.read()).hexdigest()
        except PhotoError:  # the pipeline reads it again and says why it cannot be used
            return _Looked(todo, subject, None, None, None)
        return _Looked(todo, subject, enrolled, refused, sha256)

    def _settle(self, looked: _Looked, copies: Mapping[str, Sequence[StoredPhoto]], batch: _Batch) -> bool:
        """Whether the photo is done with, without the models."""
        source, enrolled, refused = looked.todo.source, looked.enrolled, looked.refused
        if looked.sha256 is not None:
            return self._settle_by_content(looked, looked.sha256, copies.get(looked.sha256, ()), batch)
        if enrolled is not None:
            self._keep(enrolled, enrolled.file, source, looked.subject, batch)
        elif refused is not None:
            batch.add(_rejected(source, refused.rejection))
        return enrolled is not None or refused is not None

    def _settle_by_content(self, looked: _Looked, sha256: str, copies: Sequence[StoredPhoto], batch: _Batch) -> bool:
        source, subject, enrolled, refused = looked.todo.source, looked.subject, looked.enrolled, looked.refused
        file = PhotoFile(source.path, sha256, looked.todo.size, looked.todo.mtime_ns)
        if enrolled is not None and enrolled.file.sha256 == sha256:
            self._keep(enrolled, file, source, subject, batch)
            return True
        if refused is not None and refused.policy == self._policy and refused.sha256 == sha256:
            self._refuse(batch, source, file, refused.rejection)
            return True
        for copy in copies:
            if _takes_the_place_of(source, subject, copy):
                self._keep(copy, file, source, subject, batch)
                return True
        twin = next((copy.file.path for copy in copies if subject in copy.subjects), None)
        twin = twin or self._contents.setdefault((subject, sha256), source.path)
        if twin != source.path:
            self._refuse(
                batch, source, file, Rejection(Reason.DUPLICATE, f"It is the same photo as {path_text(twin)}.")
            )
            return True
        return False

    def _keep(self, stored: StoredPhoto, file: PhotoFile, source: Source, subject: str, batch: _Batch) -> None:
        """The templates are there already; take over a new place, time or subject where there is one."""
        outcome = _stored_outcome(stored, subject, EnrollStatus.UNCHANGED, photo=path_text(file.path))
        if source.data is not None:  # an upload has no place that the photo could have moved to
            file = stored.file
        known = self._attributes.get(subject, {})
        news = {key: value for key, value in source.attributes.items() if known.get(key) != value}
        if stored.file == file and stored.subjects == (subject,) and not news:
            batch.add(outcome)
        else:
            self._attributes[subject] = {**known, **news}
            batch.add(outcome, MovedPhoto(stored, file, subject, news))

    def _refuse(self, batch: _Batch, source: Source, file: PhotoFile, rejection: Rejection) -> None:
        stored = StoredRejection(file.sha256 or None, file.size, file.mtime_ns, self._policy, rejection)
        # An upload will never be asked for by this name again. A file that could not be read and a photo that a model
        # failed on may be sound the next time, with the same size and time of change.
        passing = rejection.reason in {Reason.INACCESSIBLE, Reason.MODEL_FAILURE}
        change = RefusedPhoto(source.path, stored) if source.data is None and not passing else None
        batch.add(_rejected(source, rejection), change)

    # -- after the models

    def _judge(self, photos: Sequence[EncodedPhoto[_Todo]]) -> _Batch:
        """What becomes of them, with one search for all."""
        vectors = np.array([template.vector for photo in photos for template in photo.templates], np.float32)
        found = iter(
            self._gallery.search_or_local(vectors, 2, model_id=self._encoder.info.model_id)[0] if len(vectors) else ()
        )
        batch = _Batch()
        for photo in photos:
            self._take(photo, [candidate for each in islice(found, len(photo.templates)) for candidate in each], batch)
        return batch

    def _take(self, photo: EncodedPhoto[_Todo], candidates: Sequence[Candidate], batch: _Batch) -> None:
        todo = photo.source
        source = todo.source
        file = PhotoFile(source.path, photo.sha256, todo.size, todo.mtime_ns)
        if photo.rejection is not None or photo.size is None:
            assert photo.rejection is not None
            self._refuse(batch, source, file, photo.rejection)
            return
        subject = clean_name(source.subject)
        conflict = self._conflict(subject, photo.templates, candidates, batch)
        if conflict is not None and self._options.strict:
            self._refuse(batch, source, file, conflict)
            return
        width, height = photo.size
        change = NewPhoto(file, subject, source.attributes, width, height, photo.templates)
        outcome = EnrollOutcome(
            photo=path_text(source.path),
            subject=subject,
            status=EnrollStatus.ENROLLED,
            rejection=conflict,
            faces=len(photo.templates),
            detection_score=max(template.face.detection_score for template in photo.templates),
        )
        batch.add(outcome, change)
        batch.pending += [(subject, template) for template in photo.templates]
        self._contents.pop((subject, photo.sha256), None)  # from here on the gallery knows it

    def _conflict(
        self, subject: str, templates: Sequence[Template], candidates: Sequence[Candidate], batch: _Batch
    ) -> Rejection | None:
        """The strongest match with another subject at or above the threshold, among enrolled and pending templates."""
        others = [(candidate.score, candidate.subject) for candidate in candidates if candidate.subject != subject]
        strangers = [(name, template) for name, template in batch.pending if name != subject]
        if strangers:
            vectors = np.array([template.vector for template in templates], np.float32)
            scores = (vectors @ np.array([template.vector for _, template in strangers]).T).max(axis=0)
            others += [(float(score), name) for score, (name, _) in zip(scores, strangers, strict=True)]
        score, name = max(others, default=(-1.0, ""))
        if score < self._options.threshold:
            return None
        return Rejection(Reason.IDENTITY_CONFLICT, f"It matches {name} with a score of {score:.3f}.")

    def _commit(self, batch: _Batch) -> Iterator[EnrollOutcome]:
        """Put the batch on disk, then acknowledge it."""
        changes = [change for change, _ in batch.entries if change is not None]
        ids = iter(self._gallery.commit(changes) if changes else ())
        for change, outcome in batch.entries:
            concerned = next(ids) if change is not None else outcome.template_ids
            yield replace(outcome, template_ids=concerned)


def groups_of(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """`items` in consecutive groups of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _load(todo: _Todo) -> bytes:
    return todo.source.read()


def _takes_the_place_of(source: Source, subject: str, copy: StoredPhoto) -> bool:
    """Whether `source` is that enrolled photo, in another place.

    A file is when the other file has gone, whoever's folder it is in now, and when the photo was uploaded for the same
    person. An upload is when the photo is enrolled for the same person: sending it twice changes nothing.
    """
    if source.data is not None or is_upload(copy.file.path):
        return subject in copy.subjects
    return is_gone(copy.file.path)


def _rejected(source: Source, rejection: Rejection) -> EnrollOutcome:
    return EnrollOutcome(path_text(source.path), printable(source.subject), EnrollStatus.REJECTED, rejection)


def _stored_outcome(
    stored: StoredPhoto, subject: str, status: EnrollStatus, *, photo: str | None = None
) -> EnrollOutcome:
    return EnrollOutcome(
        photo=photo or path_text(stored.file.path),
        subject=subject,
        status=status,
        faces=len(stored.template_ids),
        template_ids=stored.template_ids,
        detection_score=stored.detection_score,
    )
