"""One door for every format: what a path holds is told from its kind, its ending and its first line."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from facesearch.errors import EvaluationError
from facesearch.evaluation.trials.binary import read_embeddings, read_insightface_bin
from facesearch.evaluation.trials.folders import is_search_folder, read_people, read_search_folders
from facesearch.evaluation.trials.pairs import read_bob_scores, read_lfw_pairs, read_pairs_csv, read_scores_csv
from facesearch.evaluation.trials.table import header_of
from facesearch.evaluation.trials.types import EmbeddingSet, PairTrials, PhotoSet, ScoredPairs, SearchTrials
from facesearch.names import is_folder

Trials: TypeAlias = PairTrials | ScoredPairs | EmbeddingSet | PhotoSet | SearchTrials

_FIRST_LINE = 4096
"""Bytes read to tell a format; a header is far shorter."""
KNOWN = (
    "Known are LFW's pairs.txt, CSV with header a,b,same or score,mated, bob's four columns, InsightFace's .bin, "
    "an embeddings .npz, and a folder of one folder per person."
)


def read_trials(path: Path, photos: Path | None = None) -> Trials:
    """Read the trials at `path`, whatever their format; `photos` is the folder that paths in a pair list start from.

    A folder is SearchTrials where it holds gallery/ and probe/ or unknown/, else one PhotoSet of a folder per person.
    Raises EvaluationError for an unknown format, and what that format's reader refuses.
    """
    if is_folder(path):
        return read_search_folders(path) if is_search_folder(path) else read_people(path)
    head = _head(path)
    if path.suffix.lower() == ".npz" or head.startswith(b"PK\x03\x04"):
        return read_embeddings(path)
    if path.suffix.lower() == ".bin" or head.startswith(b"\x80"):
        return read_insightface_bin(path)
    first = head.decode("utf-8-sig", errors="replace").split("\n", 1)[0].rstrip("\r")
    return _read_text_format(path, first, photos)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_FIRST_LINE)
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror}", KNOWN) from error


def _read_text_format(path: Path, first: str, photos: Path | None) -> Trials:
    header = header_of(first)
    cells = first.split()
    if "score" in header:
        return read_scores_csv(path)
    if {"a", "b"} & set(header):
        return read_pairs_csv(path, photos)
    if "image" in header:
        raise EvaluationError(
            f"{path}: is a 1:N manifest", "Give the gallery's and the probes': facesearch eval search GALLERY PROBES"
        )
    if len(cells) == 2 and all(cell.isdigit() for cell in cells):
        if photos is None:
            raise EvaluationError(
                f"{path}: LFW's pairs.txt names photos without their folder", "Name it with --photos DIR."
            )
        return read_lfw_pairs(path, photos)
    if len(cells) == 4:
        return read_bob_scores(path)
    raise EvaluationError(f"{path}: row 1 is '{first[:80]}', which is not a header of a known format", KNOWN)
