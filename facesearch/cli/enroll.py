"""`facesearch enroll`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli.options import (
    MANY,
    MODEL,
    EngineOptions,
    JsonOption,
    complete_people,
    engine_options,
    open_engine,
    refuse_idle_index,
)
from facesearch.cli.output import emit, note, note_threshold, print_table, progress_bar
from facesearch.cli.outputs import require_not_of_gallery
from facesearch.cli.root import EXIT_NEGATIVE, EXIT_PHOTO
from facesearch.names import counted
from facesearch.walking import is_system_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facesearch.types import EnrollOutcome

SHOWN = 20
"""Rejections and conflicts listed on a terminal; `--json` lists all."""
ADVICE = {
    "moved": "Photos that moved to another person: {count}. To take that back: facesearch undo",
    "rejected: multiple_faces": "Photos with several faces: --faces largest enrolls the largest face of each.",
    "rejected: duplicate": "Copies of other photos of the same person were left out: {count}. --json lists them.",
    "rejected: erased": "Photos of people who were forgotten were left out: {count}. --bring-back-erased enrolls them.",
    "rejected: removed": "Photos that were removed by hand were left out: {count}. --bring-back-removed enrolls them.",
    "rejected: inaccessible": "Files or folders that could not be read: {count}. Photos from there stay enrolled.",
}
"""What to say of photos with this status and reason."""
COUNTED_ONLY = frozenset({"duplicate", "erased", "removed"})
"""Reasons whose photos `--json` alone lists."""
SECOND_PHOTO = (
    "{people} one photo only. A second one halves the misses: 7 % instead of 16 % on LFW (FNIR at FPIR 0.01)."
)
"""What a second photo is worth: docs/evaluation.md."""
KINDS = 5
"""Suffixes of files that are no photos, listed on a terminal."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(enroll)


@engine_options(*MODEL, "threshold", "fpir", *MANY, "index", "fusion")
def enroll(
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", readable=False, help="Folders with one folder per person, photos, or a CSV."),
    ],
    subject: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="NAME", autocompletion=complete_people, help="Enroll all these photos as this one person."
        ),
    ] = None,
    one_per_file: Annotated[
        bool, typer.Option("--one-per-file", help="Name the person in each photo after the file.")
    ] = False,
    faces: Annotated[
        str,
        typer.Option(
            "--faces",
            metavar="WHICH",
            help="Faces of a photo to enroll: single (one, or one that dominates), largest or all.",
        ),
    ] = "single",
    strict: Annotated[bool, typer.Option("--strict", help="Reject photos that match another person.")] = False,
    sync: Annotated[bool, typer.Option("--sync", help="Also remove photos that are gone from the folders.")] = False,
    bring_back_erased: Annotated[
        bool, typer.Option("--bring-back-erased", help="Also enroll people who were forgotten (`people forget`).")
    ] = False,
    bring_back_removed: Annotated[
        bool, typer.Option("--bring-back-removed", help="Also enroll photos that were removed by hand.")
    ] = False,
    *,
    options: EngineOptions,
    json: JsonOption = False,
) -> None:
    """Enroll photos of people: people/NAME/*.jpg, single photos, or a CSV with the header photo,subject.

    A folder without sub-folders is one person if somebody of its name is enrolled, or if its photos match each other.
    Otherwise give --as or --one-per-file.

    Run it as often as you like: it skips photos that have not changed. Everything it reports as enrolled is on disk.
    You can stop it at any time; the same command continues from there.

    Your corrections stay: a later run does not take back photos that you moved, confirmed or removed. A photo that is
    now in another person's folder is reported as moved.

    Exit code: 0 done; 1 a file or folder could not be read; 3 no photo could be used.

    Example: facesearch enroll people/

    Example: facesearch enroll holiday1.jpg holiday2.jpg --as "Ada Lovelace"
    """
    from facesearch.jobs.sources import collect_sources
    from facesearch.store import templates

    if json:  # it takes 30 ms to import
        from facesearch.records import EnrollRecord

    sources = collect_sources(photos, subject, one_per_file=one_per_file, sync=sync)
    summary = Summary()
    with open_engine(options, many=True) as engine:
        require_not_of_gallery(engine.settings, photos)
        if engine.settings.key:
            engine.ensure_gallery()  # a key that is of no use is an error before models are downloaded
        refuse_idle_index(options, engine)
        note(engine.extractor.provider.note)
        if not engine.has_gallery:
            note(f"Making a new gallery in {engine.settings.gallery}.")
        with progress_bar("enrolling", len(sources)) as advance:
            for outcome in engine.enroll(
                sources,
                faces=faces,
                strict=strict,
                sync=sync,
                bring_back_erased=bring_back_erased,
                bring_back_removed=bring_back_removed,
            ):
                summary.add(outcome)
                advance()
                if json:
                    emit(EnrollRecord.of(outcome))
        in_force, warning = engine.threshold, engine.threshold_warning
        alone = engine.gallery.read(templates.count_alone) if summary.enrolled and not json else 0
    if not json:
        summary.print()
        if alone:
            note(SECOND_PHOTO.format(people=f"{alone:,} people have" if alone > 1 else "1 person has"))
    note_threshold(None if json else in_force, warning)
    raise typer.Exit(summary.exit_code)


class Summary:
    """What an enrolment ends with; keeps counts, not the outcomes, however many there are."""

    def __init__(self) -> None:
        self._passed_over: Counter[str] = Counter()
        self._system_folders: list[str] = []
        self._counts: Counter[str] = Counter()
        self._flagged: list[str] = []
        self._flags = 0
        self._lost: list[str] = []
        self._known_conflicts = 0

    def add(self, outcome: EnrollOutcome) -> None:
        """Count one outcome."""
        if outcome.status.value == "passed_over":
            path = Path(outcome.photo)
            if is_system_folder(path):
                self._system_folders.append(path.name)
            else:
                self._passed_over[path.suffix.lower() or path.name] += 1
            return
        rejected = outcome.status.value == "rejected"
        reason = outcome.rejection.reason.value if outcome.rejection else ""
        self._counts[f"rejected: {reason}" if rejected else outcome.status.value] += 1
        if outcome.status.value == "removed":
            self._lost += [outcome.subject] if outcome.note else []
        elif reason not in COUNTED_ONLY:
            self._flag(outcome, reason)
        self._known_conflicts += not rejected and outcome.status.value != "enrolled" and reason == "identity_conflict"

    def _flag(self, outcome: EnrollOutcome, reason: str) -> None:
        """Keep a line about a photo that somebody should look at."""
        detail = outcome.rejection.detail if outcome.rejection else None
        said = " ".join(text for text in (detail, outcome.note) if text)
        self._flags += bool(said)
        if said and self._flags <= SHOWN:
            self._flagged.append(f"{outcome.status.value:9} {reason:18} {outcome.photo}: {said}")

    @property
    def exit_code(self) -> int:
        """Whether any photo was of use, and whether everything was looked at. A duplicate's content is enrolled."""
        if all(name.startswith("rejected") and name != "rejected: duplicate" for name in self._counts):
            return EXIT_PHOTO
        return EXIT_NEGATIVE if self._counts["rejected: inaccessible"] else 0

    @property
    def enrolled(self) -> int:
        """How many photos are new."""
        return self._counts["enrolled"]

    def print(self) -> None:
        """The table on stdout, what needs a look on stderr."""
        always = ["enrolled", "unchanged"]
        names = always + sorted(name for name in self._counts if name not in always)
        rows = [(name, self._counts[name]) for name in names]
        print_table(("photos", "count"), [*rows, ("total", self._counts.total())])
        for line in self._flagged:
            note(line)
        if self._flags > SHOWN:
            note(f"... and {self._flags - SHOWN} more; --json lists all of them.")
        for line in self._advice():
            note(line)

    def _advice(self) -> Iterator[str]:
        """What can be done about what was flagged, and what was not looked at."""
        if not self._counts and not self._passed_over and not self._system_folders:
            yield "There are no photos in what was given. Give a folder with one folder per person, or photos."
        for kind, advice in ADVICE.items():
            if count := self._counts[kind]:
                yield advice.format(count=count)
        if self._known_conflicts:
            photos = counted(self._known_conflicts, "enrolled photo matches", "enrolled photos match")
            yield f"{photos} another person. To see what can be done: facesearch audit"
        if self._lost:
            more = f" and {len(self._lost) - SHOWN} more" if len(self._lost) > SHOWN else ""
            yield f"People who lost their last photo: {', '.join(self._lost[:SHOWN])}{more}."
        if self._system_folders:
            yield f"System folders were skipped: {', '.join(self._system_folders)}."
        if self._passed_over:
            kinds = [kind for kind, _ in self._passed_over.most_common(KINDS)]
            more = ", ..." if len(self._passed_over) > KINDS else ""
            files = counted(self._passed_over.total(), "file")
            yield f"Skipped {files} without the suffix of a photo: {', '.join(kinds)}{more}."
