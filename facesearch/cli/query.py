"""`facesearch query`, `verify` and `detect`: photos in, faces, names and scores out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli.options import (
    MODEL,
    EngineOptions,
    ForceOption,
    JsonOption,
    engine_options,
    open_engine,
    refuse_idle_index,
    require_there,
)
from facesearch.cli.output import emit, note, note_threshold, print_csv, print_table, progress_bar, say
from facesearch.cli.outputs import guard_outputs, place_drawings, require_not_of_gallery
from facesearch.cli.root import EXIT_NEGATIVE, EXIT_PHOTO
from facesearch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from facesearch.api import FaceSearch
    from facesearch.outputs import Output
    from facesearch.recognition.extractor import Extraction
    from facesearch.types import Face, Rejection, SearchResult, Template

PhotosArgument = Annotated[
    list[Path],
    typer.Argument(metavar="PHOTO", readable=False, help="Photos, folders of photos, or - for a photo from a pipe."),
]
STDIN = Path("-")

DEFAULT_K = 5


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(query)
    app.command()(verify)
    app.command()(detect)


@engine_options(*MODEL, "threshold", "fpir", "index", "fusion")
def query(
    photos: PhotosArgument,
    k: Annotated[
        int | None,
        typer.Option("-k", metavar="N", help="Show the N best people for each face [default: the best and the next]."),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(
            "--margin",
            metavar="SCORE",
            help="A runner-up less than this behind makes a match ambiguous.",
        ),
    ] = 0.05,
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="KEY=VALUE", help="Search only people with this attribute.")
    ] = None,
    degraded: Annotated[
        bool,
        typer.Option(
            "--degraded",
            help="While the vector database does not answer, search the newest templates only.",
        ),
    ] = False,
    annotate: Annotated[
        Path | None, typer.Option("--annotate", metavar="OUT", help="Draw boxes and names into this file, or folder.")
    ] = None,
    force: ForceOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    *,
    options: EngineOptions,
    json: JsonOption = False,
) -> None:
    """Find out who is in photos: search every face among all people who are enrolled.

    Exit code: 0 a face matched; 1 no face matched, or a photo or folder could not be read; 3 no face could be used.

    Example: facesearch query photo.jpg --annotate who.jpg
    """
    from facesearch.arguments import key_values
    from facesearch.jobs.probes import draw_results
    from facesearch.names import path_text

    if csv or json:  # it takes 30 ms to import
        from facesearch.records import SearchRecord
    if csv and json:
        raise ConfigError("--csv and --json exclude each other.", "Choose one.")
    images = _find_photos(photos)
    places = place_drawings(annotate, photos, tuple(images))
    results: list[SearchResult] = []
    with open_engine(options, many=len(images) > 1) as engine:
        refuse_idle_index(options, engine)
        wanted = key_values(where, "--where team=design")
        with (
            guard_outputs(engine, photos, force=force).files(places, annotate) as drawings,
            progress_bar("searching", len(images)) as advance,
        ):
            many = DEFAULT_K if k is None else k
            answers = engine.identify_many(images.values(), k=many, where=wanted, margin=margin, degraded=degraded)
            for path, answer in zip(images, answers, strict=True):
                found = [replace(each, photo=path_text(path)) for each in answer]
                results += found
                advance()
                if json:
                    for result in found:
                        emit(SearchRecord.of(result))
                if path in drawings:
                    draw_results(images[path], found, drawings.pop(path))
        in_force, warning = engine.threshold, engine.threshold_warning
        nobody = _why_nobody(engine, where)
    _say_notes(results)
    if csv:
        print_csv(SearchRecord.COLUMNS, (SearchRecord.of(result).row() for result in results))
    elif not json:
        _print_results(results, nobody, every_candidate=k is not None)
    note_threshold(None if csv or json else in_force, warning)
    raise typer.Exit(_query_exit(results))


def _say_notes(results: Sequence[SearchResult]) -> None:
    for photo, remark in dict.fromkeys((result.photo, result.note) for result in results if result.note):
        note(f"{photo}: {remark}")
    if not all(result.complete for result in results):
        note("Warning: the vector database does not answer, so only the newest templates were searched.")


def _why_nobody(engine: FaceSearch, where: Sequence[str] | None) -> str:
    """Say why a face has no candidate."""
    if not engine.counts()["subjects"]:
        return "nobody is enrolled"
    return f"nobody has {' and '.join(where)}" if where else "nobody was searched"


def _find_photos(given: Sequence[Path]) -> dict[Path, Path | bytes]:
    """Photos by the paths that results name; the one of `-` is read from the pipe."""
    from facesearch.jobs.sources import find_photos

    files = [each for each in given if each != STDIN]
    found = find_photos(files) if files or not given else []
    return {**({STDIN: _read_pipe()} if STDIN in given else {}), **{path: path for path in found}}


def _read_pipe() -> bytes:
    if sys.stdin.isatty():
        raise ConfigError("Nothing is piped to this command.", "For example: curl URL | facesearch query -")
    return sys.stdin.buffer.read()


def _print_results(results: Sequence[SearchResult], nobody: str, *, every_candidate: bool) -> None:
    """A row per face with the best candidate and the next, or a row per candidate.

    `nobody` says why a face has no candidate.
    """
    if every_candidate:
        rows = (row for result in results for row in _candidate_rows(result, nobody))
        print_table(("photo", "face", "decision", "rank", "subject", "score"), rows)
    else:
        rows = (_query_row(result, nobody) for result in results)
        print_table(("photo", "face", "decision", "subject", "score", "next"), rows)


def _query_exit(results: Sequence[SearchResult]) -> int:
    decisions = {result.decision.value for result in results}
    unread = any(result.rejection and result.rejection.reason == "inaccessible" for result in results)
    if "match" in decisions and not unread:
        return 0
    return EXIT_NEGATIVE if decisions - {"unusable"} else EXIT_PHOTO


def _query_row(result: SearchResult, nobody: str) -> Sequence[object]:
    if result.rejection is not None:
        return (*_face_and_decision(result), result.rejection.detail, None, None)
    shown = [f"{each.subject} {each.score:.3f}" for each in result.candidates]
    if result.decision == "unknown":
        return (*_face_and_decision(result), None, None, shown[0] if shown else nobody)
    best = result.candidates[0]
    return (*_face_and_decision(result), best.subject, best.score, shown[1] if len(shown) > 1 else None)


def _candidate_rows(result: SearchResult, nobody: str) -> Iterator[Sequence[object]]:
    """A row for each candidate; the face stands in the first."""
    if not result.candidates:
        yield (*_face_and_decision(result), None, result.rejection.detail if result.rejection else nobody, None)
    for rank, each in enumerate(result.candidates, 1):
        face = _face_and_decision(result) if rank == 1 else (None, None, None)
        yield (*face, rank, each.subject, each.score)


def _face_and_decision(result: SearchResult) -> tuple[object, object, object]:
    reason = f": {result.rejection.reason.value}" if result.rejection else ""
    return (result.photo, result.face_number, f"{result.decision.value}{reason}")


@engine_options(*MODEL, "threshold")
def verify(
    a: Annotated[Path, typer.Argument(metavar="A", help="A photo, or - for one from a pipe.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another photo.")],
    faces: Annotated[
        str,
        typer.Option(
            "--faces",
            metavar="WHICH",
            help="Face of each photo to compare: single (one, or one that dominates) or largest.",
        ),
    ] = "single",
    *,
    options: EngineOptions,
    json: JsonOption = False,
) -> None:
    """Tell whether two photos show the same person.

    Exit code: 0 the same person; 1 different people; 3 no face could be used.

    Example: facesearch verify a.jpg b.jpg
    """
    from facesearch.names import path_text

    if a == b == STDIN:
        raise ConfigError("Only one photo can come from a pipe.", "Name the other photo.")
    require_there(each for each in (a, b) if each != STDIN)
    with open_engine(options) as engine:
        require_not_of_gallery(engine.settings, [each for each in (a, b) if each != STDIN])
        first, second = (_read_pipe() if each == STDIN else each for each in (a, b))
        comparison = replace(engine.verify(first, second, faces=faces), a=path_text(a), b=path_text(b))
    for photo, remark in zip((a, b), comparison.notes, strict=True):
        if remark:
            note(f"{path_text(photo)}: {remark}")
    if json:
        from facesearch.records import ComparisonRecord

        emit(ComparisonRecord.of(comparison))
    else:
        verdict = "same person" if comparison.is_match else "different people"
        say(f"{verdict}: score {comparison.score:.3f}, threshold {comparison.threshold.value:g}")
        note(f"Origin of the threshold: {comparison.threshold.basis}.")
    raise typer.Exit(0 if comparison.is_match else EXIT_NEGATIVE)


@engine_options(*MODEL)
def detect(
    photos: PhotosArgument,
    annotate: Annotated[
        Path | None, typer.Option("--annotate", metavar="OUT", help="Draw boxes into this file, or folder.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--embeddings", metavar="OUT.npz", help="Write vectors, photos, boxes, landmarks and scores of all faces."
        ),
    ] = None,
    force: ForceOption = False,
    *,
    options: EngineOptions,
    json: JsonOption = False,
) -> None:
    """Find the faces in photos, without searching for people.

    Exit code: 0 a face was found; 1 a photo or folder could not be read; 3 no face was found.

    Example: facesearch detect party/ --annotate found/
    """
    from facesearch.jobs.probes import write_embeddings

    images = _find_photos(photos)
    places = place_drawings(annotate, photos, tuple(images))
    rows: list[Sequence[object]] = []
    kept: list[tuple[Path, Template]] = []
    with open_engine(options, many=len(images) > 1) as engine:
        outputs = guard_outputs(engine, photos, force=force)
        with (
            outputs.optional_file(embeddings) as vectors,
            outputs.files(places, annotate) as drawings,
            progress_bar("detecting", len(images)) as advance,
        ):
            found = engine.detect_many(images.values(), templates=vectors is not None)
            for path, photo in zip(images, found, strict=True):
                kept += [(path, each) for each in photo.templates]
                rows += _detect_photo(path, photo, drawings.pop(path, None), json=json)
                advance()
            if vectors is not None:
                write_embeddings(vectors, kept, engine.model)
    if not json:
        print_table(("photo", "face", "score", "width", "height", "box"), rows)
    raise typer.Exit(_detect_exit(rows))


def _detect_exit(rows: Sequence[Sequence[object]]) -> int:
    if all(row[1] is None for row in rows):
        return EXIT_PHOTO
    unread = any(row[1] is None and str(row[-1]).startswith("inaccessible") for row in rows)
    return EXIT_NEGATIVE if unread else 0


def _detect_photo(
    path: Path, photo: Extraction[Path | bytes], out: Output | None, *, json: bool
) -> list[Sequence[object]]:
    from facesearch.jobs.probes import draw_faces
    from facesearch.names import path_text

    if photo.note:
        note(f"{path_text(path)}: {photo.note}")
    if out is not None and photo.faces:
        draw_faces(photo.source, [(face, f"{face.detection_score:.2f}", True) for face in photo.faces], out)
    found = zip(photo.faces, photo.reasons, strict=True)
    rows: list[tuple[int, Face | None, Rejection | None]]
    rows = [(number, face, reason) for number, (face, reason) in enumerate(found, 1)] or [(1, None, photo.rejection)]
    if json:
        from facesearch.records import FaceRecord

        for number, face, reason in rows:
            emit(FaceRecord.of_face(path_text(path), None if face is None else number, face, reason, photo.note))
    return [_face_row(path, number, face, reason) for number, face, reason in rows]


def _face_row(path: Path, number: int, face: Face | None, why: Rejection | None) -> Sequence[object]:
    reason = f"{why.reason.value}: {why.detail}" if why else ""
    if face is None:
        return (path, None, None, None, None, reason)
    corners = " ".join(f"{value:.0f}" for value in face.box.tolist())
    shown = f"{corners} ({reason})" if reason else corners
    return (path, number, face.detection_score, f"{face.width:.0f}", f"{face.height:.0f}", shown)
