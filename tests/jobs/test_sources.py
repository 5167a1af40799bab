"""What `enroll` finds in folders, photos and manifests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from facesearch.errors import ConfigError
from facesearch.jobs.sources import collect_sources, find_photos, read_manifest


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def found(*paths: Path, subject: str | None = None) -> dict[str, str]:
    return {source.path.name: source.subject for source in collect_sources(paths, subject).items}


def test_a_folder_per_subject_is_searched_to_its_depths(tmp_path: Path) -> None:
    touch(tmp_path / "Ada" / "1.jpg")
    touch(tmp_path / "Ada" / "1843" / "notes" / "2.PNG")
    touch(tmp_path / "Bob" / "3.webp")
    assert found(tmp_path) == {"1.jpg": "Ada", "2.PNG": "Ada", "3.webp": "Bob"}


def test_loose_photos_are_named_after_their_files(tmp_path: Path) -> None:
    touch(tmp_path / "Ada Lovelace.jpg")
    assert found(tmp_path) == {"Ada Lovelace.jpg": "Ada Lovelace"}
    assert found(tmp_path / "Ada Lovelace.jpg") == {"Ada Lovelace.jpg": "Ada Lovelace"}


def test_one_subject_can_be_named_for_everything(tmp_path: Path) -> None:
    touch(tmp_path / "trip" / "1.jpg")
    touch(tmp_path / "2.jpg")
    assert found(tmp_path, subject="Ada") == {"1.jpg": "Ada", "2.jpg": "Ada"}


def test_a_name_for_everything_that_is_none_is_refused_before_any_photo_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "1.jpg")
    with pytest.raises(ConfigError, match="name needs a character"):
        collect_sources([tmp_path], " ")


def test_hidden_names_and_other_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    touch(tmp_path / "Ada" / "1.jpg")
    touch(tmp_path / "Ada" / "notes.txt")
    touch(tmp_path / "Ada" / ".DS_Store")
    touch(tmp_path / ".cache" / "2.jpg")
    sources = collect_sources([tmp_path])
    assert [source.path.name for source in sources.items] == ["1.jpg"]
    assert sources.passed_over == [tmp_path / "Ada" / "notes.txt"]


def test_a_link_back_to_a_parent_folder_does_not_loop(tmp_path: Path) -> None:
    touch(tmp_path / "Ada" / "1.jpg")
    (tmp_path / "Ada" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert found(tmp_path) == {"1.jpg": "Ada"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not Unicode")
def test_a_folder_name_that_is_not_utf8_is_read_as_latin_1(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/Ren\xe9"
    os.mkdir(folder)  # noqa: PTH102  # a bytes path
    touch(Path(os.fsdecode(folder)) / "1.jpg")
    assert found(tmp_path) == {"1.jpg": "René"}


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        touch(tmp_path / name / "1.jpg")
    assert [source.subject for source in collect_sources([tmp_path]).items] == ["a", "b", "c"]


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        collect_sources([tmp_path / "nowhere"])


def test_the_same_photo_given_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path / "Ada" / "1.jpg")
    assert len(collect_sources([tmp_path, tmp_path]).items) == 1


def test_the_same_photo_through_a_link_counts_once(tmp_path: Path) -> None:
    photo = touch(tmp_path / "people" / "Ada" / "1.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "people", target_is_directory=True)
    (source,) = collect_sources([tmp_path / "link" / "Ada" / "1.jpg", tmp_path / "people", tmp_path / "link"]).items
    assert (source.subject, source.said) == ("Ada", True)
    assert [source.path for source in collect_sources([tmp_path / "people", tmp_path / "link"]).items] == [photo]


def test_hard_links_in_two_folders_are_two_photos(tmp_path: Path) -> None:
    os.link(touch(tmp_path / "Ada" / "1.jpg"), touch(tmp_path / "Bob" / "2.jpg").with_name("1.jpg"))
    assert len(collect_sources([tmp_path]).items) == 3


def test_names_composed_and_decomposed_and_with_backslashes_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ["Ren\u00e9", "Zoe\u0308", *(["Ada\\Lovelace"] if os.sep == "/" else [])]
    for name in names:
        touch(tmp_path / name / "1.jpg")
    assert {source.subject for source in collect_sources([tmp_path]).items} == set(names)


def test_folders_of_the_system_that_are_given_are_passed_over_and_hidden_ones_are_not(tmp_path: Path) -> None:
    touch(tmp_path / "@eaDir" / "1.jpg")
    touch(tmp_path / ".private" / "Ada" / "1.jpg")
    sources = collect_sources([tmp_path / "@eaDir", tmp_path / ".private"])
    assert [source.subject for source in sources.items] == ["Ada"]
    assert sources.passed_over == [tmp_path / "@eaDir"]


def test_one_name_for_everything_holds_for_a_manifest(tmp_path: Path) -> None:
    (source,) = collect_sources([write_csv(tmp_path, "photo,subject,team\n1.jpg,Bob,x\n")], "Ada").items
    assert (source.subject, source.said, source.attributes) == ("Ada", True, {"team": "x"})


def test_one_per_file_names_every_photo_but_those_of_a_manifest(tmp_path: Path) -> None:
    touch(tmp_path / "portraits" / "2023" / "Ada.jpg")
    touch(tmp_path / "portraits" / "Bob.jpg")
    manifest = write_csv(tmp_path, "photo,subject\n1.jpg,Cy\n")
    sources = collect_sources([tmp_path / "portraits", manifest], one_per_file=True)
    assert [(source.subject, source.said) for source in sources.items] == [("Ada", True), ("Bob", True), ("Cy", True)]


def test_a_folder_without_photos_is_never_synced(tmp_path: Path) -> None:
    touch(tmp_path / "people" / "Ada" / "1.jpg")
    (tmp_path / "unmounted").mkdir()
    with pytest.raises(ConfigError, match="unmounted holds none"):
        collect_sources([tmp_path / "people", tmp_path / "unmounted"], sync=True)
    with pytest.raises(ConfigError, match="--sync needs a folder"):
        collect_sources([tmp_path / "people" / "Ada" / "1.jpg"], sync=True)


@pytest.mark.parametrize("photo_first", [True, False])
def test_a_photo_given_by_name_and_through_its_folder_is_the_folders(tmp_path: Path, photo_first: bool) -> None:
    photo = touch(tmp_path / "Ada" / "1.jpg")
    paths = [photo, tmp_path] if photo_first else [tmp_path, photo]
    (source,) = collect_sources(paths).items
    assert (source.subject, source.said) == ("Ada", True)


def test_only_a_file_of_its_own_is_nobodys_word(tmp_path: Path) -> None:
    touch(tmp_path / "Ada" / "1.jpg")
    touch(tmp_path / "Bob.jpg")
    manifest = tmp_path / "people.csv"
    manifest.write_text("photo,subject\nCy.jpg,Cy\n")

    def said(*paths: Path, subject: str | None = None) -> dict[str, bool]:
        return {source.subject: source.said for source in collect_sources(paths, subject).items}

    assert said(tmp_path, manifest) == {"Ada": True, "Bob": False, "Cy": True}
    assert said(tmp_path / "Bob.jpg") == {"Bob": False}
    assert said(tmp_path / "Bob.jpg", subject="Robert") == {"Robert": True}


def test_photos_to_search_with_are_found_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b/1.jpg", "a/2.jpg", "a/@eaDir/2.jpg", "a/notes.txt", "photo.raw"):
        touch(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    folder, given = Path("a"), Path("photo.raw")
    found = find_photos([given, folder, folder / "2.jpg", tmp_path / "a", Path("b"), folder / "@eaDir"])
    assert found == [given, folder / "2.jpg", Path("b/1.jpg")]
    with pytest.raises(ConfigError, match="no photos in what was given"):
        find_photos([folder / "@eaDir"])


def write_csv(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = folder / "people.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_manifest_gives_photos_subjects_and_attributes(tmp_path: Path) -> None:
    text = 'photo,subject,team,born\nfaces/1.jpg,"Lovelace, Ada",analysis,1815\n\n2.jpg,Bob,,\n'
    first, second = read_manifest(write_csv(tmp_path, text, encoding="utf-8-sig"))
    assert (first.path, first.subject) == (tmp_path / "faces" / "1.jpg", "Lovelace, Ada")
    assert first.attributes == {"team": "analysis", "born": "1815"}
    assert second.attributes == {}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "header"),
        ("file,name\n1.jpg,Ada\n", "header"),
        ("photo,subject,team,team\n", "header"),
        ("photo,subject\n1.jpg,Ada\n2.jpg\n", "Line 3"),
        ("photo,subject\n1.jpg,Ada,extra\n", "Line 2"),
        ("photo,subject\n1.jpg, \n", "Line 2"),
        ('photo,subject\n"1.jpg,Ada\n', "cannot be read"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_manifest(write_csv(tmp_path, text))


def test_a_manifest_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_manifest(write_csv(tmp_path, "photo,subject\n1.jpg,René\n", encoding="latin-1"))


def test_a_manifest_with_one_photo_for_two_subjects_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "photo,subject\n1.jpg,Ada\n1.jpg,Bob\n")
    with pytest.raises(ConfigError, match="two subjects: Ada and Bob"):
        collect_sources([path])


def test_a_manifest_and_a_folder_that_disagree_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "Ada" / "1.jpg")
    with pytest.raises(ConfigError, match="two subjects: Ada and Bob"):
        collect_sources([tmp_path, write_csv(tmp_path, "photo,subject\nAda/1.jpg,Bob\n")])
