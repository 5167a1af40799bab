"""The whole gallery against a plain dict: whatever is done in whatever order, by whichever connection, it answers as
the dict does."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from facesearch.errors import SubjectExistsError, UnknownSubjectError
from facesearch.files import INDEX_CACHE_NAME
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import people, subjects
from facesearch.store import photos as stored_photos
from facesearch.store import templates as stored_templates
from facesearch.types import Fusion
from tests.store.makers import MODEL, ROOT, commit, make_gallery, moved_photo, new_photo, unit

NAMES = st.sampled_from(["anna", "bob", "carl", "dora"])
PATHS = st.sampled_from([f"{number}.jpg" for number in range(6)])
VECTORS = st.lists(st.integers(0, 30), min_size=1, max_size=3)
CITIES = st.sampled_from(["Oslo", "Rome", None])


@dataclass
class Photo:
    subject: str
    vectors: dict[int, int]
    """Seed of the vector by template id."""


@dataclass
class Expected:
    photos: dict[str, Photo] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    said: dict[str, dict[str, str]] = field(default_factory=dict)
    """Attributes that came with photos: each value counts once."""
    used_ids: set[int] = field(default_factory=set)

    def tidy(self) -> None:
        """Subjects are those who have a photo or an attribute."""
        named = {photo.subject for photo in self.photos.values()}
        named |= {name for name, attributes in self.attributes.items() if attributes}
        self.attributes = {name: self.attributes.get(name, {}) for name in sorted(named)}
        self.said = {name: self.said.get(name, {}) for name in self.attributes}

    def say(self, name: str, given: dict[str, str]) -> None:
        """What comes with a photo counts where it is new, and nobody set another value meanwhile."""
        attributes, said = self.attributes.setdefault(name, {}), self.said.setdefault(name, {})
        for key, value in given.items():
            if said.get(key) != value and attributes.get(key) in {said.get(key), value}:
                attributes[key] = value
            said[key] = value

    def rename(self, name: str, new: str) -> None:
        for known in (self.attributes, self.said):
            known[new] = known.pop(name)

    def best_scores(self, query: int) -> dict[str, float]:
        scores: dict[str, float] = {}
        for photo in self.photos.values():
            for seed in photo.vectors.values():
                score = float(unit(seed) @ unit(query))
                scores[photo.subject] = max(score, scores.get(photo.subject, -2))
        return scores


class GalleryMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.gallery = self.make()
        self.second = self.open()
        self.expected = Expected()
        self.content = 0

    def make(self) -> Gallery:
        """A new gallery."""
        return make_gallery(self.folder, Fusion.MAX)

    def open(self) -> Gallery:
        """The same, as another process opens it."""
        gallery = Gallery.open(self.folder, fusion=Fusion.MAX)  # the model knows single templates
        gallery.adopt(MODEL)
        return gallery

    def teardown(self) -> None:
        self.gallery.close()
        self.second.close()
        with self.open() as reopened:
            assert [finding for finding in check_gallery(reopened) if not finding.ok] == []
            self._compare(reopened)
        shutil.rmtree(self.folder)

    def _by(self, second: bool) -> Gallery:
        return self.second if second else self.gallery

    @rule(name=NAMES, path=PATHS, seeds=VECTORS, city=CITIES, second=st.booleans())
    def add_or_replace(self, name: str, path: str, seeds: list[int], city: str | None, second: bool) -> None:
        self.content += 1
        attributes = {"city": city} if city else {}
        photo = new_photo(name, path, [unit(seed) for seed in seeds], attributes, self.content)
        (ids,) = commit(self._by(second), [photo])
        assert not set(ids) & self.expected.used_ids
        self.expected.used_ids |= set(ids)
        self.expected.photos[path] = Photo(name, dict(zip(ids, seeds, strict=True)))
        self.expected.say(name, attributes)
        self.expected.tidy()

    @rule(path=PATHS, new=PATHS, name=NAMES, second=st.booleans())
    def move(self, path: str, new: str, name: str, second: bool) -> None:
        if path not in self.expected.photos:
            return
        gallery = self._by(second)
        (ids,) = commit(gallery, [moved_photo(gallery, path, new, name)])
        photo = self.expected.photos.pop(path)
        assert set(ids) == set(photo.vectors)
        self.expected.photos[new] = Photo(name, photo.vectors)
        self.expected.tidy()

    @rule(paths=st.sets(PATHS, max_size=3), second=st.booleans())
    def remove_photos(self, paths: set[str], second: bool) -> None:
        enrolled = paths & self.expected.photos.keys()
        removed = self._by(second).remove(people.remove_photos, [ROOT / path for path in enrolled])
        gone = [self.expected.photos.pop(path) for path in enrolled]
        assert removed == sum(len(photo.vectors) for photo in gone)
        self.expected.tidy()

    @rule(name=NAMES, new=NAMES, second=st.booleans())
    def rename(self, name: str, new: str, second: bool) -> None:
        known = self.expected.attributes
        if name not in known:
            with pytest.raises(UnknownSubjectError):
                self._by(second).write(people.rename, name, new)
        elif new in known and new != name:
            with pytest.raises(SubjectExistsError):
                self._by(second).write(people.rename, name, new)
        else:
            self._by(second).write(people.rename, name, new)
            if name != new:
                self._by(second).write(people.remove_alias, new, name)
            self.expected.rename(name, new)
            self._give(name, new)

    def _give(self, name: str, new: str) -> None:
        for photo in self.expected.photos.values():
            if photo.subject == name:
                photo.subject = new

    @rule(name=NAMES, into=NAMES, second=st.booleans())
    def merge(self, name: str, into: str, second: bool) -> None:
        known = self.expected.attributes
        if name == into or name not in known or into not in known:
            return
        self._by(second).change(people.merge, name, into)
        self._by(second).write(people.remove_alias, into, name)
        for each in (known, self.expected.said):
            each[into] = {**each.pop(name, {}), **each.get(into, {})}
        self._give(name, into)

    @rule(name=NAMES, second=st.booleans())
    def remove_subject(self, name: str, second: bool) -> None:
        if name not in self.expected.attributes:
            return
        gone = [path for path, photo in self.expected.photos.items() if photo.subject == name]
        templates = sum(len(self.expected.photos.pop(path).vectors) for path in gone)
        assert self._by(second).remove(people.remove, name) == (len(gone), templates)
        del self.expected.attributes[name]
        self.expected.tidy()

    @rule(name=NAMES, city=CITIES, second=st.booleans())
    def set_attribute(self, name: str, city: str | None, second: bool) -> None:
        if name not in self.expected.attributes:
            return
        if city is None and not any(photo.subject == name for photo in self.expected.photos.values()):
            return  # nothing would be left of the person until the next removal
        self._by(second).write(people.set_attributes, name, {"city": city})
        self.expected.attributes[name].pop("city", None)
        if city is not None:
            self.expected.attributes[name]["city"] = city

    @rule(second=st.booleans())
    def save_cache(self, second: bool) -> None:
        self._by(second).mirror.save()

    @rule()
    def reopen(self) -> None:
        self.gallery.close()
        self.gallery = self.open()

    @precondition(lambda self: (self.folder / INDEX_CACHE_NAME).exists())
    @rule(damage=st.sampled_from(["delete", "flip", "cut", "old"]), place=st.floats(0, 0.999))
    def hurt_cache(self, damage: str, place: float) -> None:
        cache = self.folder / INDEX_CACHE_NAME
        data = bytearray(cache.read_bytes())
        at = int(place * len(data))
        match damage:
            case "delete":
                cache.unlink()
            case "flip" if data:  # it may have been cut to nothing
                data[at] ^= 1
                cache.write_bytes(data)
            case "cut":
                cache.write_bytes(data[:at])
            case _:
                kept = self.folder / "old.cache"
                if kept.exists():
                    shutil.copy(kept, cache)
                kept.write_bytes(data)
        self.reopen()

    @invariant()
    def both_connections_answer_as_the_dict_does(self) -> None:
        if hasattr(self, "gallery"):
            self._compare(self.gallery)
            self._compare(self.second)

    def _compare(self, gallery: Gallery) -> None:
        expected = self.expected
        photos = expected.photos.values()
        counts = gallery.read(stored_templates.counts)
        assert counts["photos"] == len(photos)
        assert counts["templates"] == counts["faces"] == sum(len(photo.vectors) for photo in photos)
        assert {each.name: each.attributes for each in gallery.read(subjects.list_subjects)} == expected.attributes
        for name in expected.attributes:
            listed = {
                each.photo.name: set(each.template_ids) for each in gallery.read(stored_photos.photos_of_subject, name)
            }
            assert listed == {path: set(each.vectors) for path, each in expected.photos.items() if each.subject == name}
        for query in (3, 17):
            self._compare_search(gallery, query)

    def _compare_search(self, gallery: Gallery, query: int) -> None:
        best = self.expected.best_scores(query)
        (candidates,) = gallery.search(unit(query)[None], 10)
        assert {each.subject: each.score for each in candidates} == pytest.approx(best, abs=1e-6)
        for each in candidates:
            photo = self.expected.photos[Path(each.photo).name]
            assert photo.subject == each.subject
            assert np.isclose(unit(photo.vectors[each.template_id]) @ unit(query), each.score, atol=1e-6)
        (candidates,) = gallery.search(unit(query)[None], 10, {"city": "Oslo"})
        with_photos = {photo.subject for photo in self.expected.photos.values()}
        in_oslo = {name for name in with_photos if self.expected.attributes[name].get("city") == "Oslo"}
        assert {each.subject for each in candidates} == in_oslo


TestGallery = GalleryMachine.TestCase
TestGallery.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
