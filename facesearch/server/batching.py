"""Photos of many requests through the models together.

    request -> queue -> threads: decode, detect, align -> one thread: embed, search, decide -> request

The queue is fair to clients (`fairness`).

The last thread takes whatever waits when it becomes free: alone a photo waits for nobody, under load the crops of many
requests share one run of the recogniser and one look into the database. The queue is bounded; whoever finds it full is
told to come back.
"""

from __future__ import annotations

import queue
import threading
import time
from asyncio import CancelledError, gather, wrap_future
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from facesearch.errors import FaceSearchError
from facesearch.jobs.probes import (
    SearchOptions,
    decide_photo,
    pair_names,
    prepare_probe,
    prepare_single,
    single_vector,
    vectors_of,
)
from facesearch.machine import usable_cores
from facesearch.recognition.extractor import BATCH, Extraction, Extractor, Prepared
from facesearch.recognition.thumbnail import preview
from facesearch.server.fairness import FairPool, Room, departed, noticing_departure
from facesearch.server.security import client_of
from facesearch.types import Comparison

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastapi import Request

    from facesearch.api import FaceSearch
    from facesearch.recognition.quality import FacePolicy
    from facesearch.server.following import InForce, ModelInForce
    from facesearch.server.metrics import Metrics
    from facesearch.types import Candidate, SearchResult, Threshold


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """One photo of a request."""

    name: str
    """As the client calls it; shown, never opened."""
    data: bytes


@dataclass(slots=True, eq=False)
class _Job:
    """One photo on its way."""

    prepare: Callable[[], Any]
    """Gives the probe, or what is wanted of the photo instead."""
    future: Future[Any] = field(default_factory=Future, init=False)
    since: float = field(default_factory=time.perf_counter, init=False)

    def settle(self, work: Callable[[], Any]) -> None:
        """Answer with what `work` gives, or raises."""
        try:
            self.future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # whoever waits for it gets it
            self.future.set_exception(error)


@dataclass(slots=True, eq=False)
class _FaceJob(_Job):
    """One whose faces are to be embedded."""

    now: InForce
    options: SearchOptions | None = None
    """None: only the vector of its one face is wanted."""
    probe: Prepared[str] | None = field(default=None, init=False)


Job = TypeVar("Job", bound=_Job)


class Batcher:
    """The models of one engine, shared by all requests of a server."""

    def __init__(
        self,
        engine: FaceSearch,
        models: ModelInForce,
        *,
        capacity: int,
        workers: int | None,
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._models = models
        self._metrics = metrics
        self.room = Room(capacity, max(1, capacity // 2), "Too many photos wait for the models.")
        """Photos that were accepted and not answered yet. One client holds half, or one request."""
        self._ready: queue.SimpleQueue[_FaceJob | None] = queue.SimpleQueue()
        self._pool = FairPool(workers or min(4, usable_cores()))
        self._finisher = threading.Thread(target=self._finish, name="facesearch-batches", daemon=True)
        self._finisher.start()

    def close(self) -> None:
        """Finish what was accepted."""
        self._pool.close()
        self._ready.put(None)
        self._finisher.join()

    # -- what requests ask for

    async def detect(self, request: Request, photos: Sequence[Upload]) -> list[Extraction[str]]:
        """The faces of each photo, without templates."""
        find = partial(prepare_probe, (await self._models.current()).engine.extractor, limits=None)
        jobs = [_Job(partial(find, photo.data, name=photo.name)) for photo in photos]
        return [prepared.photo for prepared in await self._run(request, jobs, self._only_prepare)]

    async def preview(self, request: Request, photo: Upload) -> tuple[bytes, int, int]:
        """What `thumbnail.preview` gives. Raises `PhotoError`."""
        (made,) = await self._run(request, [_Job(partial(preview, photo.data))], self._only_prepare)
        return cast("tuple[bytes, int, int]", made)

    async def identify(
        self, request: Request, photos: Sequence[Upload], options: Callable[[Threshold], SearchOptions]
    ) -> list[list[SearchResult]]:
        """What `FaceSearch.identify` gives for each photo; `options` is given the threshold in force."""

        async def work(now: InForce) -> list[list[SearchResult]]:
            prepare, wanted = partial(prepare_probe, now.engine.extractor), options(now.threshold)
            jobs = [_FaceJob(partial(prepare, photo.data, name=photo.name), now, wanted) for photo in photos]
            return await self._run(request, jobs, self._prepare)

        return await self._models.answer(work)

    async def verify(
        self, request: Request, a: Upload, b: Upload, policy: FacePolicy, threshold: Threshold | None
    ) -> Comparison:
        """What `FaceSearch.verify` gives; no `threshold` takes the one in force."""
        now = await self._models.current()
        prepare = partial(prepare_single, now.engine.extractor)
        names = zip((a, b), pair_names(a.name, b.name), strict=True)
        jobs = [_FaceJob(partial(prepare, photo.data, policy, name=name), now) for photo, name in names]
        first, second = await self._run(request, jobs, self._prepare)
        notes = tuple(job.probe.photo.note if job.probe else None for job in jobs)
        assert len(notes) == 2
        return Comparison(a.name, b.name, float(np.dot(first, second)), threshold or now.threshold, notes)

    async def _run(self, request: Request, jobs: Sequence[Job], step: Callable[[Job], None]) -> list[Any]:
        """What becomes of the jobs; those that did not begin when the client leaves are dropped."""
        client = client_of(request)
        self.room.take(client, len(jobs), need=1)
        for job in jobs:
            job.future.add_done_callback(lambda _: self.room.give_back(client))
            self._pool.submit(client, partial(step, job))
        async with noticing_departure(request, lambda: [job.future.cancel() for job in jobs]):
            outcomes = await gather(*(wrap_future(job.future) for job in jobs), return_exceptions=True)
        if any(isinstance(each, CancelledError) for each in outcomes):
            raise departed()
        error = next((each for each in outcomes if isinstance(each, BaseException)), None)
        if error is not None:
            raise error
        return outcomes

    # -- first step, in several threads

    def _begin(self, job: _Job) -> bool:
        """Whether the client is still there."""
        self._metrics.waits.observe(time.perf_counter() - job.since)
        return job.future.set_running_or_notify_cancel()

    def _only_prepare(self, job: _Job) -> None:
        if self._begin(job):
            job.settle(job.prepare)

    def _prepare(self, job: _FaceJob) -> None:
        if not self._begin(job):
            return
        try:
            job.probe = job.prepare()
        except BaseException as error:  # noqa: BLE001  # whoever waits for it gets it
            job.future.set_exception(error)
            return
        self._ready.put(job)

    # -- second step, in one thread

    def _finish(self) -> None:
        while (job := self._ready.get()) is not None:
            group = [job, *self._take_waiting()]
            self._metrics.batches.observe(len(group))
            try:
                self._answer(group)
            except BaseException as error:  # noqa: BLE001  # whoever waits for it gets it
                for each in group:
                    if not each.future.done():
                        each.future.set_exception(error)

    def _take_waiting(self) -> list[_FaceJob]:
        taken: list[_FaceJob] = []
        while len(taken) < BATCH - 1:
            try:
                job = self._ready.get_nowait()
            except queue.Empty:
                break
            if job is None:  # the end; found again when this group is answered
                self._ready.put(None)
                break
            taken.append(job)
        return taken

    def _answer(self, group: Sequence[_FaceJob]) -> None:
        engines = {job.now.engine for job in group}  # several only while the model is switched
        for engine in engines:
            self._answer_with(engine.extractor, [job for job in group if job.now.engine is engine])

    def _answer_with(self, extractor: Extractor, group: Sequence[_FaceJob]) -> None:
        probes = [job.probe for job in group if job.probe is not None]
        searches: dict[tuple[object, ...], list[tuple[_FaceJob, Extraction[str]]]] = {}
        for job, photo in zip(group, extractor.finish(probes), strict=True):
            if job.options is None:
                job.settle(partial(single_vector, photo))
            else:
                where = tuple(sorted((job.options.where or {}).items()))
                searches.setdefault((job.options.k, where, job.options.degraded), []).append((job, photo))
        for together in searches.values():
            self._search(together)

    def _search(self, together: Sequence[tuple[_FaceJob, Extraction[str]]]) -> None:
        options = [job.options for job, _ in together if job.options is not None]
        asked, model_id = options[0], together[0][0].now.model_id
        floor = min(each.floor for each in options)
        found: list[tuple[Candidate, ...]] = []
        complete = True
        vectors = [vectors_of(photo) for _, photo in together if photo.templates]
        try:
            if vectors:
                gallery, stacked = self._engine.gallery, np.concatenate(vectors)
                if asked.degraded:
                    found, complete = gallery.search_or_local(stacked, asked.k, asked.where, model_id, floor)
                else:
                    found = gallery.search(stacked, asked.k, asked.where, model_id, floor)
        except FaceSearchError as error:
            for job, _ in together:
                job.future.set_exception(error)
            return
        start = 0
        for (job, photo), each in zip(together, options, strict=True):
            count = len(photo.templates)
            results = decide_photo(photo, found[start : start + count], each)
            if not complete and count:
                results = [replace(result, complete=False) for result in results]
            job.future.set_result(results)
            start += count
