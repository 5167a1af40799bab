"""Pair lists: LFW, CSV and InsightFace's pickles."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from facesearch.errors import EvaluationError
from facesearch.evaluation.trials import read_trials
from facesearch.evaluation.trials.binary import read_insightface_bin
from facesearch.evaluation.trials.pairs import read_lfw_pairs, read_pairs_csv
from facesearch.evaluation.trials.types import PairTrials


def _photos(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def _lfw(tmp_path: Path, *lines: str) -> Path:
    _photos(tmp_path, *(f"{name}/{name}_000{i}.jpg" for name in ("Ada", "Bo") for i in (1, 2, 3)))
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def _csv(tmp_path: Path, text: str) -> Path:
    _photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    return path


def test_lfw_pairs_give_photos_labels_people_and_folds(tmp_path: Path) -> None:
    path = _lfw(tmp_path, "2\t1", "Ada\t1\t2", "Ada\t1\tBo\t1", "Bo 1 2", "Ada 2 Bo 3")
    trials = read_lfw_pairs(path, tmp_path)
    assert trials.same.tolist() == [True, False, True, False]
    assert trials.fold is not None
    assert trials.fold.tolist() == [0, 0, 1, 1]
    assert trials.names[trials.b[3]] == "Bo/Bo_0003.jpg"
    assert trials.id_b is not None
    assert [trials.subjects[i] for i in trials.id_b] == ["Ada", "Bo", "Bo", "Bo"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["10"], "row 1 is '10'"),
        (["1 1", "Ada 1 2"], "promises 1 x 2 x 1 = 2 pairs, 1 follow"),
        (["1 1", "Ada 1 Bo 1", "Ada 1 2"], "row 2; row 3"),
        (["1 1", "Ada 1 2", "Ada one Bo 1"], "row 3: 'Ada one Bo 1'"),
        (["1 1", "Ada 1 2", "Ada 1 Bo 9"], "row 3: Bo/Bo_0009.jpg"),
        (["1 1", "Ada 1 1", "Ada 1 Bo 1"], "compared with itself (1 in all): row 2"),
        (["1 2", "Ada 1 2", "Ada 2 1", "Ada 1 Bo 1", "Ada 2 Bo 1"], "listed twice (1 in all): row 3"),
    ],
)
def test_lfw_defects_are_refused_by_row(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        read_lfw_pairs(_lfw(tmp_path, *lines), tmp_path)
    assert said in caught.value.message
    assert "pairs.txt" in caught.value.message


def test_pairs_csv_takes_every_spelling_of_same(tmp_path: Path) -> None:
    trials = read_pairs_csv(_csv(tmp_path, "a,b,same\na.jpg,b.jpg,YES\na.jpg,c.jpg,false\nb.jpg,c.jpg,0\n"))
    assert trials.same.tolist() == [True, False, False]
    assert trials.id_a is None
    assert trials.photos[0] == tmp_path / "a.jpg"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,label\na.jpg,b.jpg,1\n", "row 1 is 'a,b,label'"),
        ("a,b,same\na.jpg,b.jpg,maybe\n", "row 2: 'maybe'"),
        ("a,b,same\na.jpg,b.jpg\n", "row 2 has 2"),
        ("a,b,same\n", "nothing else"),
        ("a,b,same\na.jpg,b.jpg,1\nb.jpg,a.jpg,0\n", "both same and different (1 in all): row 3"),
        ("a,b,same\na.jpg,b.jpg,1\nb.jpg,a.jpg,1\n", "first in row 2"),
        ("a,b,same\na.jpg,x.jpg,1\n", "row 2: x.jpg"),
        ("a,b,same,id_a\na.jpg,b.jpg,1,p\n", "one of id_a and id_b"),
        ("a,b,same,id_a,id_b\na.jpg,b.jpg,1,p,q\n", "row 2 says same"),
        ("a,b,same,id_a,id_b\na.jpg,b.jpg,0,p,q\na.jpg,c.jpg,0,r,q\n", "ids of two people (1 in all): a.jpg in rows 2"),
        ("a,b,same,fold\na.jpg,b.jpg,1,x\n", "row 2: 'x'"),
    ],
)
def test_csv_defects_are_refused_by_row(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        read_pairs_csv(_csv(tmp_path, text))
    assert said in caught.value.message
    assert "pairs.csv" in caught.value.message


def test_a_refusal_names_five_rows_and_counts_the_rest(tmp_path: Path) -> None:
    rows = "".join(f"a.jpg,missing{i}.jpg,0\n" for i in range(9))
    with pytest.raises(EvaluationError, match=r"9 in all.*row 6: missing4.jpg; and 4 more"):
        read_pairs_csv(_csv(tmp_path, "a,b,same\n" + rows))


BLOBS = [b"one", b"two", b"one", b"three"]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("blobs", "flags"),
    [
        (BLOBS, [True, False]),
        (tuple(BLOBS), np.array([True, False])),
        ([np.frombuffer(blob, np.uint8) for blob in BLOBS], [np.bool_(1), np.bool_(0)]),
        (BLOBS, [1, np.int64(0)]),
    ],
)
def test_bin_reads_lists_and_numpy_of_every_protocol(
    tmp_path: Path, protocol: int, blobs: object, flags: object
) -> None:
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps((blobs, flags), protocol))
    trials = read_insightface_bin(path)
    assert trials.photos == (b"one", b"two", b"three")
    assert trials.a.tolist() == [0, 0]
    assert trials.b.tolist() == [1, 2]
    assert trials.same.tolist() == [True, False]


class _Evil:
    def __init__(self, call: object, *args: object) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call, self.args


@pytest.mark.parametrize(
    ("evil", "named"),
    [
        (_Evil(os.system, "touch owned"), f"{os.system.__module__}.system"),
        (_Evil(eval, "1"), "builtins.eval"),
        (Path("x"), "pathlib"),
        (np.array([1.5]), "numpy.dtype('f8')"),
    ],
)
def test_a_foreign_class_is_named_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: object, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.bin"
    path.write_bytes(pickle.dumps((BLOBS, [evil, True])))
    with pytest.raises(EvaluationError, match=r"evil\.bin") as caught:
        read_insightface_bin(path)
    assert named in caught.value.message
    assert not (tmp_path / "owned").exists()


def test_a_pickle_cannot_change_what_is_admitted(tmp_path: Path) -> None:
    # GLOBAL numpy.ndarray, then BUILD with slot state {"_call": None}.
    path = tmp_path / "evil.bin"
    path.write_bytes(b"cnumpy\nndarray\n(N}V_call\nNstb.")
    with pytest.raises(EvaluationError):
        read_insightface_bin(path)
    test_bin_reads_lists_and_numpy_of_every_protocol(tmp_path, 2, BLOBS, np.array([True, False]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pickle.dumps((BLOBS, [True, False]))[:-9], "not a readable pickle"),
        (b"", "not a readable pickle"),
        (pickle.dumps((BLOBS, [True])), "4 photos for 1 pairs"),
        (pickle.dumps({"a": 1}), "does not hold"),
        (pickle.dumps((["text", b"x"], [True])), "photo 1 of pair 1"),
        (pickle.dumps(([b"x", b"y"], [7])), "flag of pair 1"),
        (pickle.dumps(([b"x", b"x"], [True])), "compared with itself (1 in all): row 1"),
    ],
)
def test_damaged_and_wrong_bins_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(EvaluationError) as caught:
        read_insightface_bin(path)
    assert said in caught.value.message


def test_the_lfw_fold_is_read_whole() -> None:
    assets = Path(os.environ.get("FACESEARCH_TEST_ASSETS", Path(__file__).parents[3] / "shared"))
    if not (assets / "faces" / "pairs.txt").exists():
        pytest.skip("the LFW fold is not on this machine")
    trials = read_trials(assets / "faces" / "pairs.txt", assets / "faces" / "lfw")
    assert isinstance(trials, PairTrials)
    assert (len(trials), int(trials.same.sum()), len(trials.photos)) == (600, 300, 807)
