"""Everything facesearch raises on purpose. "No match" is a result, not an error."""

from __future__ import annotations

import re
from copyreg import __newobj__  # type: ignore[attr-defined]  # what pickle itself uses
from typing import Any

from facesearch.names import printable, sentences


class FaceSearchError(Exception):
    """Base of all errors a user can do something about.

    `message` says what is wrong in one sentence; `hint`, where there is one, says what to do next. Both are printable,
    whatever file names they quote.
    """

    reason = "face_search"
    """Code for programs, the same over HTTP: the name of the class, unless the class says otherwise."""

    def __init_subclass__(cls) -> None:
        if "reason" not in vars(cls):
            cls.reason = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__.removesuffix("Error")).lower()

    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = sentences(printable(message))
        self.hint = None if hint is None else sentences(printable(hint))
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without calling the constructor, whose arguments differ: an error crosses process borders whole."""
        return __newobj__, (type(self), *self.args), self.__dict__


class ConfigError(FaceSearchError):
    """A setting, flag or environment variable that cannot be used."""

    reason = "invalid_request"


class PhotoError(FaceSearchError):
    """The file is no usable photo. `reason` is a value of `facesearch.types.Reason`."""

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.reason = reason


class FaceCountError(FaceSearchError):
    """The photo does not hold the number of faces that was asked for."""


class NoFaceError(FaceCountError):
    """No face was found where one is needed."""

    reason = "face_not_found"


class MultipleFacesError(FaceCountError):
    """Several faces, none of which dominates, where one is needed."""

    reason = "multiple_faces"


class ModelError(FaceSearchError):
    """A model pack that cannot be used."""


class ModelNotFoundError(ModelError):
    """The pack or one of its files is not on this machine."""


class ModelIntegrityError(ModelError):
    """A model file is not what was expected: its size, its SHA-256 or its structure."""


class ProviderError(ModelError):
    """The execution provider asked for is not available here."""


class GalleryError(FaceSearchError):
    """The gallery cannot do what was asked."""


class GalleryNotFoundError(GalleryError):
    """There is no gallery at that path."""


class UnknownSubjectError(GalleryError):
    """No subject of that name is enrolled."""


class UnknownPhotoError(GalleryError):
    """No photo of that id is enrolled, or not of that person."""

    reason = "not_found"


class SubjectExistsError(GalleryError):
    """A subject of that name is enrolled already."""


class ModelMismatchError(GalleryError):
    """The gallery holds templates of another model."""


class SchemaOutdatedError(GalleryError):
    """The database schema is older or newer than this version of facesearch."""


class DiskFullError(GalleryError):
    """No space is left where the gallery lies."""


class GalleryUnavailableError(GalleryError):
    """The database server cannot be reached, or the connection to it was lost."""


class UndoError(GalleryError):
    """A correction cannot be undone: there is none, it was undone already, or the same was changed again since."""

    reason = "cannot_undo"


class GalleryConflictError(GalleryError):
    """Others changed the same rows at the same time, and nothing was changed here."""


class GalleryLockedError(GalleryError):
    """The gallery is encrypted, and its key is missing or wrong."""


class VectorDatabaseError(GalleryError):
    """The gallery's vector database (pgvector, Milvus) does not answer."""


class CorruptGalleryError(GalleryError):
    """The gallery's data contradict themselves."""


class EvaluationError(FaceSearchError):
    """The data given support no honest error rate."""


class InstallationError(FaceSearchError):
    """A library that facesearch stands on is missing, too old, or cannot do its work on this machine."""


class ServerError(FaceSearchError):
    """A facesearch server cannot be reached, is busy, or refuses."""
