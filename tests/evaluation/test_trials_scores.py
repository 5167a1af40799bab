"""Score files, vectors, folders, manifests, and telling them apart."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesearch.errors import EvaluationError
from facesearch.evaluation.comparison import compare
from facesearch.evaluation.trials import read_trials
from facesearch.evaluation.trials.binary import read_embeddings
from facesearch.evaluation.trials.folders import read_manifests, read_people, read_search_folders, split_people
from facesearch.evaluation.trials.pairs import read_scores_csv, write_scores_csv
from facesearch.evaluation.trials.types import (
    EmbeddingSet,
    PairTrials,
    PhotoSet,
    ScoredPairs,
    SearchTrials,
)


def _file(folder: Path, name: str, text: str = "x") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_empty_or_nan_score_is_a_failure_that_keeps_its_row(tmp_path: Path) -> None:
    trials = read_scores_csv(_file(tmp_path, "s.csv", "score,mated\n0.5,1\n,1\nNaN,0\ninf,no\n"))
    assert trials.failed.tolist() == [False, True, True, False]
    assert trials.failures() == {"missing_score": 2}
    assert trials.score[3] == math.inf


@given(
    st.lists(
        st.tuples(st.floats(width=64), st.booleans(), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
        min_size=1,
        max_size=20,
    )
)
def test_scores_read_back_bit_for_bit(rows: list[tuple[float, bool, str]]) -> None:
    ids = [f"p{name}".replace("\r", "").replace("\n", "") for _, _, name in rows]
    subjects = tuple(sorted({*ids, "other"}))
    code = np.array([subjects.index(name) for name in ids], dtype=np.int64)
    mated = np.array([same for _, same, _ in rows])
    other = np.where(mated, code, subjects.index("other"))
    scores = np.array([score for score, _, _ in rows])
    trials = ScoredPairs(scores, mated, code, other, np.arange(len(rows)), "x", subjects)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "scores.csv"
        write_scores_csv(path, trials)
        first = path.read_bytes()
        back = read_scores_csv(path)
        write_scores_csv(Path(folder) / "again.csv", back)
        assert (Path(folder) / "again.csv").read_bytes() == first
    assert np.array_equal(back.score, scores, equal_nan=True)
    assert back.mated.tolist() == mated.tolist()
    assert back.id_a is not None
    assert [back.subjects[i] for i in back.id_a] == ids


def test_bob_columns_are_mated_where_the_ids_agree(tmp_path: Path) -> None:
    trials = read_trials(_file(tmp_path, "scores-dev", "p1 p1 p1/b 0.9\np1 p2 p2/a -1e-3\np2 p2 p2/a nan\n"))
    assert isinstance(trials, ScoredPairs)
    assert trials.mated.tolist() == [True, False, True]
    assert trials.failed.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("score,mated\nx,1\n0.1,0\n", "row 2: 'x'"),
        ("score,mated,age\n0.1,0,3\n", "row 1 is"),
        ("score,mated,id_a,id_b\n0.1,0,p,p\n", "row 2 says different"),
        ("p p q 0.1\np p q 0.2\n", "row 2, first in row 1"),
        ("p p q 0.1\np r q 0.2\n", "q in rows 1 and 2"),
        ("p p q 0.1\np r\n", "row 2"),
        ("a b c\n", "row 1 is 'a b c'"),
    ],
)
def test_score_file_defects_are_refused_by_row(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        read_trials(_file(tmp_path, "scores.csv", text))
    assert said in caught.value.message
    assert "scores.csv" in caught.value.message


def test_people_have_one_code_in_whatever_order_rows_come(tmp_path: Path) -> None:
    a = read_scores_csv(_file(tmp_path, "a.csv", "score,mated,id_a,id_b\n0,0,Ada,Bo\n0,1,Cy,Cy\n"))
    b = read_scores_csv(_file(tmp_path, "b.csv", "score,mated,id_a,id_b\n0,1,Cy,Cy\n0,0,Ada,Bo\n"))
    assert a.subjects == b.subjects == ("Ada", "Bo", "Cy")
    assert a.id_a is not None
    assert b.id_a is not None
    assert a.id_a.tolist() == b.id_a[::-1].tolist()


def test_evaluations_of_others_are_not_paired(tmp_path: Path) -> None:
    rows = [(f"p{i}", f"p{i if same else i + 1}", same, i) for i in range(8) for same in (1, 0)]
    text = "score,mated,id_a,id_b\n" + "".join(f"{0.5 * same + i / 99},{same},{a},{b}\n" for a, b, same, i in rows)
    ours, others = (read_scores_csv(_file(tmp_path, "s.csv", each)) for each in (text, text.replace("p", "q")))
    with pytest.raises(EvaluationError, match="not about the same people"):
        compare(ours, others, [0.5])
    nameless = read_scores_csv(_file(tmp_path, "n.csv", "score,mated\n0.1,0\n0.9,1\n"))
    with pytest.raises(EvaluationError, match=r"n\.csv: names no people"):
        compare(nameless, nameless, [0.5])


def test_embeddings_become_unit_vectors_and_failures_keep_their_row(tmp_path: Path) -> None:
    path = tmp_path / "e.npz"
    vectors = np.array([[3, 4], [np.nan, 0]], np.float32)
    np.savez(path, vectors=vectors, subject_id=np.array([7, 8]), status=np.array(["ok", "face_not_found"]))
    read = read_trials(path)
    assert isinstance(read, EmbeddingSet)
    assert read.vectors == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))
    assert read.failed.tolist() == [False, True]
    assert read.subject_ids == ("7", "8")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"vectors": np.ones((2, 3), np.float32)}, "no array subject_id"),
        ({"vectors": np.ones((2, 3), np.float32), "subject_id": np.array([object(), 1])}, "cannot be read"),
        ({"vectors": np.ones((2, 3), np.float32), "subject_id": np.arange(3)}, "'subject_id' has shape"),
        ({"vectors": np.ones(3, np.float32), "subject_id": np.arange(3)}, "'vectors' is float32 (3,)"),
        ({"vectors": np.array([[1, 0], [0, 0]], np.float32), "subject_id": np.arange(2)}, "row 1"),
        ({"vectors": np.array([[np.inf, 0], [1, 0]], np.float32), "subject_id": np.arange(2)}, "row 0"),
    ],
)
def test_wrong_embeddings_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    path = tmp_path / "e.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]  # the stubs take the first for `allow_pickle`
    with pytest.raises(EvaluationError) as caught:
        read_embeddings(path)
    assert said in caught.value.message


def test_a_folder_of_people_is_read_without_what_is_no_photo(tmp_path: Path) -> None:
    photos = ("Ada/1.jpg", "Ada/2.PNG", "Ada/old/3.jpg", "Bo/1.jpg")
    for name in (*photos, "Bo/notes.txt", ".cache/1.jpg", "@eaDir/1.jpg", "Bo/@eaDir/1.jpg", "loose.jpg"):
        _file(tmp_path, name)
    people = read_trials(tmp_path)
    assert isinstance(people, PhotoSet)
    assert people.names == photos
    assert people.subject_ids == ("Ada", "Ada", "Ada", "Bo")


def test_search_folders_tell_mates_from_strangers(tmp_path: Path) -> None:
    for name in ("gallery/Ada/1.jpg", "probe/Ada/2.jpg", "unknown/Cy/1.jpg", "unknown/x.jpg"):
        _file(tmp_path, name)
    trials = read_trials(tmp_path)
    assert isinstance(trials, SearchTrials)
    assert dict(zip(trials.probes.names, trials.mated.tolist(), strict=True)) == {
        "probe/Ada/2.jpg": True,
        "unknown/x.jpg": False,
        "unknown/Cy/1.jpg": False,
    }
    _file(tmp_path, "probe/Di/1.jpg")
    with pytest.raises(EvaluationError, match=r"not in gallery.*Di"):
        read_search_folders(tmp_path)


def test_the_split_is_seeded_and_keeps_people_and_photos_apart(tmp_path: Path) -> None:
    for person in range(8):
        for photo in range(3):
            _file(tmp_path, f"p{person}/{photo}.jpg")
    people = read_people(tmp_path)
    one, again, other = (split_people(people, seed) for seed in (1, 1, 2))
    assert one.gallery.names == again.gallery.names
    assert one.probes.names == again.probes.names
    assert one.gallery.names != other.gallery.names
    assert len(one.gallery) == 4
    assert sorted(one.gallery.names + one.probes.names) == sorted(people.names)
    assert int(one.mated.sum()) == 8
    with pytest.raises(EvaluationError, match="too few to split"):
        split_people(PhotoSet("x", people.photos[:1], ("a",), ("a",)), 0)


def test_manifests_refuse_a_probe_that_is_enrolled_and_a_photo_listed_twice(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        _file(tmp_path, name)
    gallery = _file(tmp_path, "gallery.csv", "image,subject_id,media_id\na.jpg,p,m1\n")
    probes = _file(tmp_path, "probes.csv", "image,subject_id\nb.jpg,p\nc.jpg,q\n")
    trials = read_manifests(gallery, probes)
    assert trials.mated.tolist() == [True, False]
    assert trials.gallery.media_ids == ("m1",)
    _file(tmp_path, "probes.csv", "image,subject_id\nb.jpg,p\na.jpg,q\n")
    with pytest.raises(EvaluationError, match="row 3, enrolled in row 2"):
        read_manifests(gallery, probes)
    _file(tmp_path, "probes.csv", "image,subject_id\nb.jpg,p\nb.jpg,q\nx.jpg,q\n")
    with pytest.raises(EvaluationError, match=r"row 3 .b.jpg, for another person., first in row 2"):
        read_manifests(gallery, probes)
    with pytest.raises(EvaluationError, match="1:N manifest"):
        read_trials(gallery)


def test_detection_of_formats(tmp_path: Path) -> None:
    _file(tmp_path, "a.jpg")
    _file(tmp_path, "b.jpg")
    pairs = read_trials(_file(tmp_path, "p.csv", "\ufeffa,b,same\na.jpg,b.jpg,1\n"))
    assert isinstance(pairs, PairTrials)
    assert pairs.scored(np.array([np.nan]), {0: "blurred"}).failures() == {"blurred": 1}
    with pytest.raises(EvaluationError) as caught:
        read_trials(_file(tmp_path, "pairs.txt", "10 300\n"))
    assert "--photos" in (caught.value.hint or "")
    with pytest.raises(EvaluationError, match="nowhere"):
        read_trials(tmp_path / "nowhere")
