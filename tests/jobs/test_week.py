"""A random week against a model: nobody's correction is lost, nobody erased comes back, undo restores what was."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from facesearch import FaceSearch
from facesearch.demo.portraits import draw_portrait, write_photo
from facesearch.demo.standin import build_standin_pack
from facesearch.errors import SubjectExistsError
from facesearch.store import people as stored_people
from facesearch.store import photos as stored_photos
from facesearch.store import subjects
from facesearch.store import undo as stored_undo
from facesearch.store.backups import restore_backup, write_backup
from tests.jobs.week import CONTENTS, FILES, NAMES, Known, Person, Photo

PATHS = st.sampled_from(FILES)
PICKS = st.integers(0, 20)
CHILD = """
import sys
from facesearch import FaceSearch
with FaceSearch.open(sys.argv[1], pack=sys.argv[2], provider="cpu") as engine:
    for outcome in engine.enroll([sys.argv[3]], sync=sys.argv[4] == "sync"):
        print(outcome.photo, flush=True)
"""


class WeekMachine(RuleBasedStateMachine):
    """Rules are what may happen in a week; after each, the gallery is as the model says."""

    pool: ClassVar[Path]
    """Where the stand-in pack and the contents lie: made once."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="week-"))
        self.tree = self.folder / "people"
        for path in FILES:
            (self.tree / path).parent.mkdir(parents=True, exist_ok=True)
        self.files: dict[str, int] = {}
        self.known = Known()
        self.undoable: tuple[Known, Any] | None = None
        """What undoing the last correction has to bring back."""
        self.backup: Known | None = None
        self.engine = self.open()
        for number, path in enumerate(FILES[::2]):
            self.put(path, number)
        self.enroll(sync=False)

    def open(self) -> FaceSearch:
        return FaceSearch.open(self.folder / "gallery", pack=self.pool / "standin", provider="cpu")

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        faults = [finding for finding in self.engine.check() if not finding.ok and finding.subject != "photos"]
        self.engine.close()
        shutil.rmtree(self.folder)
        assert faults == []

    # -- the tree changes

    @rule(path=PATHS, content=st.integers(0, CONTENTS - 1))
    def put(self, path: str, content: int) -> None:
        shutil.copyfile(self.pool / f"{content % CONTENTS}.jpg", self.tree / path)
        self.files[path] = content % CONTENTS

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        (self.tree / path).unlink(missing_ok=True)
        self.files.pop(path, None)

    @rule(a=PATHS, b=PATHS)
    def rename_file(self, a: str, b: str) -> None:
        if a in self.files and a != b:
            (self.tree / a).replace(self.tree / b)
            self.files[b] = self.files.pop(a)

    @rule(a=PATHS, b=PATHS)
    def swap_files(self, a: str, b: str) -> None:
        if a in self.files and b in self.files and a != b:
            (self.tree / a).rename(self.tree / "x")
            (self.tree / b).rename(self.tree / a)
            (self.tree / "x").rename(self.tree / b)
            self.files[a], self.files[b] = self.files[b], self.files[a]

    # -- runs

    @rule(sync=st.booleans())
    def enroll(self, *, sync: bool) -> None:
        self._expect_run(sync=sync)
        self._run(sync=sync)
        self.compare()
        again = self._run(sync=sync)
        assert set(again) <= {"unchanged", "rejected"}, again
        self.compare()

    @rule(sync=st.booleans(), after=st.integers(0, 6))
    def stop_and_enroll(self, *, sync: bool, after: int) -> None:
        self._expect_run(sync=sync)
        if not sync or self.files:
            run = self.engine.enroll([self.tree], sync=sync)
            for _ in zip(range(after), run, strict=False):
                pass
            run.close()  # type: ignore[attr-defined]  # it is a generator
        self._run(sync=sync)
        self.compare()

    def crash_and_enroll(self, *, sync: bool, after: float) -> None:
        """Kill a run at a moment; the next one leads to the same."""
        self._expect_run(sync=sync)
        self.engine.close()
        arguments = [self.folder / "gallery", self.pool / "standin", self.tree, "sync" if sync else "-"]
        child = subprocess.Popen([sys.executable, "-c", CHILD, *map(str, arguments)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        self.engine = self.open()
        self._run(sync=sync)
        self.compare()

    def _expect_run(self, *, sync: bool) -> None:
        before = self._view(self.known)
        if self.files or not sync:
            self.known.enroll(self.files, sync=sync and bool(self.files))
        if self._view(self.known) != before:
            self.undoable = None

    def _run(self, *, sync: bool) -> list[str]:
        if not self.files:  # an empty folder is refused with --sync, and nothing happens without
            return []
        return [outcome.status.value for outcome in self.engine.enroll([self.tree], sync=sync)]

    # -- corrections

    def _people(self) -> list[Person]:
        return sorted(self.known.people, key=lambda each: each.name)

    def _person(self, pick: int) -> Person | None:
        people = self._people()
        return people[pick % len(people)] if people else None

    def _photo(self, pick: int) -> Photo | None:
        photos = sorted(self.known.photos, key=lambda each: each.path)
        return photos[pick % len(photos)] if photos else None

    def _correct(self) -> None:
        """Remember what undoing the correction that follows has to bring back."""
        self.undoable = (copy.deepcopy(self.known), self._seen())

    @rule(pick=PICKS, name=st.sampled_from(NAMES))
    def rename(self, pick: int, name: str) -> None:
        person = self._person(pick)
        if person is None or person.name == name:
            return
        if self.known.called(name) not in {None, person}:
            with pytest.raises(SubjectExistsError):
                self.engine.gallery.write(stored_people.rename, person.name, name)
            return
        self._correct()
        self.engine.gallery.write(stored_people.rename, person.name, name)
        self.known.rename(person, name)
        self.compare()

    @rule(a=PICKS, b=PICKS)
    def merge(self, a: int, b: int) -> None:
        source, target = self._person(a), self._person(b)
        if source is None or target is None or source is target:
            return
        self._correct()
        self.engine.gallery.change(stored_people.merge, source.name, target.name)
        self.known.merge(source, target)
        self.compare()

    @rule(photo=PICKS, person=PICKS)
    def move(self, photo: int, person: int) -> None:
        moved, target = self._photo(photo), self._person(person)
        if moved is None or target is None or moved.person is target:
            return
        self._correct()
        self.engine.gallery.change(stored_people.move_photos, [self.tree / moved.path], target.name)
        self.known.move(moved, target)
        self.compare()

    @rule(pick=PICKS, key=st.sampled_from(["consent", "team"]), value=st.sampled_from(["a", "b", None]))
    def set_attribute(self, pick: int, key: str, value: str | None) -> None:
        person = self._person(pick)
        if person is None or person.attributes.get(key) == value:
            return
        if value is None and not any(photo.person is person for photo in self.known.photos):
            return  # nothing would be left of the person; the next run that removes anything removes them too
        self._correct()
        self.engine.gallery.write(stored_people.set_attributes, person.name, {key: value})
        person.attributes.pop(key, None)
        if value is not None:
            person.attributes[key] = value
        self.compare()

    @rule(pick=PICKS)
    def remove_photo(self, pick: int) -> None:
        photo = self._photo(pick)
        if photo is not None:
            self._correct()
            self.engine.gallery.remove(stored_people.remove_photos, [self.tree / photo.path])
            self.known.remove_photo(photo)
            self.compare()

    @rule(pick=PICKS)
    def remove(self, pick: int) -> None:
        person = self._person(pick)
        if person is not None:
            self._correct()
            self.engine.gallery.remove(stored_people.remove, person.name)
            self.known.remove(person)
            self.compare()

    @rule(pick=PICKS)
    def forget(self, pick: int) -> None:
        person = self._person(pick)
        if person is not None:
            assert self.engine.forget([person.name])["clean"]
            self.known.forget(person)
            self.undoable = None
            told = [entry.detail for entry in self.engine.gallery.read(stored_people.history)]
            names = {person.name, *person.others}
            assert not [detail for detail in told if names & {str(value) for value in detail.values()}]
            self.compare()

    @precondition(lambda self: self.undoable is not None)
    @rule()
    def undo(self) -> None:
        assert self.undoable is not None
        self.known, seen = self.undoable
        self.undoable = None
        self.engine.gallery.change(stored_undo.undo)
        assert self._seen() == seen
        self.compare()

    # -- backups

    @rule()
    def back_up(self) -> None:
        (self.folder / "backup").unlink(missing_ok=True)
        write_backup(self.engine.gallery, self.folder / "backup")
        self.backup = copy.deepcopy(self.known)

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore(self) -> None:
        assert self.backup is not None
        self.engine.close()
        restore_backup(self.folder / "backup", self.folder / "gallery", force=True)
        self.engine = self.open()
        restored = copy.deepcopy(self.backup)
        restored.restored(self.known)
        self.known, self.undoable = restored, None
        self.compare()

    # -- what has to be

    def compare(self) -> None:
        gallery = self._seen()
        found = {
            (subject.name, subject.aliases, tuple(sorted(subject.attributes.items()))): {
                (photo.sha256, os.path.relpath(photo.photo, self.tree)) for photo in photos
            }
            for subject, photos in gallery
        }
        assert found == self._view(self.known)
        assert all(photo.faces == len(photo.template_ids) == 1 for _, photos in gallery for photo in photos)

    def _seen(self) -> list[Any]:
        gallery = self.engine.gallery
        return [
            (subject, gallery.read(stored_photos.photos_of_subject, subject.subject_id))
            for subject in gallery.read(subjects.list_subjects)
        ]

    def _view(self, known: Known) -> dict[Any, set[tuple[str, str]]]:
        return {
            (each.name, tuple(sorted(each.others)), tuple(sorted(each.attributes.items()))): {
                (self.hashes[photo.content], photo.path) for photo in known.photos if photo.person.key == each.key
            }
            for each in known.people
        }

    hashes: ClassVar[list[str]]


class CrashingWeek(WeekMachine):
    """With runs that are killed."""

    @rule(sync=st.booleans(), after=st.floats(0, 0.3))
    def crash(self, *, sync: bool, after: float) -> None:
        if self.files:
            self.crash_and_enroll(sync=sync, after=after)


@pytest.fixture(scope="session")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in pack, and the contents that files may have: two portraits each of three people."""
    import hashlib

    pool = tmp_path_factory.mktemp("week")
    build_standin_pack(pool / "standin")
    for number in range(CONTENTS):
        write_photo(pool / f"{number}.jpg", draw_portrait(number % 3, number // 3))
    WeekMachine.pool = pool
    WeekMachine.hashes = [
        hashlib.sha256((pool / f"{number}.jpg").read_bytes()).hexdigest() for number in range(CONTENTS)
    ]
    return pool


def week(examples: int, steps: int, *, shrink: bool = True, derandomize: bool = True) -> settings:
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=derandomize,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )


def test_a_week_is_as_the_person_did_and_said(contents: Path) -> None:
    run_state_machine_as_test(WeekMachine, settings=week(8, 25))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_two_hundred_weeks_are_as_the_person_did_and_said(contents: Path) -> None:
    run_state_machine_as_test(CrashingWeek, settings=week(200, 30, derandomize=False))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_half_an_hour_of_weeks_is_as_the_person_did_and_said(contents: Path) -> None:
    until = time.monotonic() + 30 * 60
    while time.monotonic() < until:
        run_state_machine_as_test(CrashingWeek, settings=week(5, 200, shrink=False, derandomize=False))
