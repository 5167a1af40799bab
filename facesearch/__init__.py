"""facesearch: a vector-database identity search engine for faces.

>>> from facesearch import FaceSearch
>>> with FaceSearch.open("data") as engine:  # doctest: +SKIP
...     outcomes = list(engine.enroll("people/"))
...     results = engine.identify("photo.jpg")

Names are imported when they are first used: `import facesearch` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from facesearch.api import FaceSearch
    from facesearch.corrections import JournalEntry
    from facesearch.errors import (
        ConfigError,
        CorruptGalleryError,
        DiskFullError,
        EvaluationError,
        FaceCountError,
        FaceSearchError,
        GalleryConflictError,
        GalleryError,
        GalleryLockedError,
        GalleryNotFoundError,
        GalleryUnavailableError,
        InstallationError,
        ModelError,
        ModelIntegrityError,
        ModelMismatchError,
        ModelNotFoundError,
        MultipleFacesError,
        NoFaceError,
        PhotoError,
        ProviderError,
        SchemaOutdatedError,
        ServerError,
        SubjectExistsError,
        UndoError,
        UnknownPhotoError,
        UnknownSubjectError,
        VectorDatabaseError,
    )
    from facesearch.types import (
        Candidate,
        Comparison,
        Decision,
        EnrolledPhoto,
        EnrollOutcome,
        EnrollStatus,
        Face,
        Finding,
        ModelInfo,
        Quality,
        Reason,
        Rejection,
        SearchResult,
        Subject,
        Template,
        Threshold,
    )

__all__ = [
    "Candidate", "Comparison", "ConfigError", "CorruptGalleryError", "Decision", "DiskFullError", "EnrollOutcome",
    "EnrollStatus", "EnrolledPhoto", "EvaluationError", "Face", "FaceCountError", "FaceSearch", "FaceSearchError",
    "Finding", "GalleryConflictError", "GalleryError", "GalleryLockedError", "GalleryNotFoundError",
    "GalleryUnavailableError", "InstallationError", "JournalEntry", "ModelError", "ModelInfo",
    "ModelIntegrityError", "ModelMismatchError", "ModelNotFoundError", "MultipleFacesError", "NoFaceError",
    "PhotoError", "ProviderError", "Quality", "Reason", "Rejection", "SchemaOutdatedError", "SearchResult",
    "ServerError", "Subject", "SubjectExistsError", "Template", "Threshold", "UndoError", "UnknownPhotoError",
    "UnknownSubjectError", "VectorDatabaseError",
]  # fmt: skip

HOMES = {"FaceSearch": "api", "JournalEntry": "corrections"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("facesearch")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = HOMES.get(name, "errors" if name.endswith("Error") else "types")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
