"""Settings: a flag goes before a `FACESEARCH_*` variable, that before what the gallery was made with, that before the
default. This is the only module that reads the environment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from facesearch import arguments
from facesearch.errors import ConfigError
from facesearch.index.services import VectorDatabaseKind, VectorServer
from facesearch.store.location import DatabaseUrl, parse_location
from facesearch.types import Fusion, IndexKind, Threshold
from facesearch.walking import cause_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facesearch.store.location import Location

DEFAULT_GALLERY = Path("data")
DEFAULT_PROVIDER = "auto"
DEFAULT_DET_SIZE = "auto"
DEFAULT_PRECISION = "fp32"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user chose; None where nothing was chosen and the gallery or the default decides."""

    gallery: Location
    """A folder, or a PostgreSQL database."""
    gallery_is_named: bool
    """Whether a flag or variable names the gallery, so that it has to be there to be read; else it is `data`."""
    pack: str | None
    provider: str
    det_size: str | None
    precision: str | None
    threshold: float | None
    """Cosine similarity, -1..1."""
    fpir: float | None
    """Target that the pack's table chooses a threshold by; None takes 1 %, unless the gallery is calibrated."""
    model_folders: tuple[Path, ...]
    """Where packs are looked for; the first is where downloads go."""
    offline: bool
    cache: Path
    """Where evaluations keep the vectors of the photos they embedded, and galleries in PostgreSQL their index caches:
    biometric data."""
    workers: int | None = None
    """Photos in the models at once; None leaves all cores to each single photo."""
    batch: int | None = None
    """Faces per run of the recogniser; None takes what was measured to be fastest."""
    index: IndexKind = IndexKind.AUTO
    fusion: Fusion = Fusion.MEAN
    key: str | None = field(default=None, repr=False)
    """Of an encrypted gallery."""
    key_file: Path | None = None
    """Where `key` was read from."""
    servers: Mapping[VectorDatabaseKind, VectorServer] = field(default_factory=dict)
    """Where galleries find a vector database of their own."""

    @classmethod
    def load(
        cls,
        *,
        gallery: Location | str | None = None,
        pack: str | Path | None = None,
        provider: str | None = None,
        det_size: str | int | None = None,
        precision: str | None = None,
        threshold: float | None = None,
        fpir: float | None = None,
        workers: int | None = None,
        batch: int | None = None,
        index: str | None = None,
        fusion: str | None = None,
        key_file: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Combine flags (the arguments) with the environment. Raises `ConfigError` for values that make no sense."""
        env = os.environ if environ is None else environ
        cache = Path(env["FACESEARCH_CACHE"]).expanduser() if env.get("FACESEARCH_CACHE") else _user_cache()
        # The key itself is never an argument: others could read it.
        chosen_key = key_file or _path(env.get("FACESEARCH_KEY_FILE"))
        named_gallery = (env.get("FACESEARCH_GALLERY") or None) if gallery is None else gallery
        return cls(
            gallery=_location(DEFAULT_GALLERY if named_gallery is None else named_gallery, cache),
            gallery_is_named=named_gallery is not None,
            pack=_chosen("pack", os.fspath(pack) if isinstance(pack, Path) else pack, env),
            provider=_chosen("provider", provider, env) or DEFAULT_PROVIDER,
            det_size=_chosen("det_size", str(det_size) if type(det_size) is int else det_size, env),
            precision=_chosen("precision", precision, env),
            threshold=_threshold(threshold, env),
            fpir=_fpir(fpir, env),
            model_folders=_model_folders(env),
            offline=env.get("FACESEARCH_OFFLINE", "").lower() not in {"", "0", "false", "no"},
            cache=cache,
            workers=_count("workers", workers),
            batch=_count("batch", batch),
            index=_index(_chosen("index", index, env) or IndexKind.AUTO),
            fusion=_fusion(_chosen("fusion", fusion, env) or Fusion.MEAN),
            key=read_key_file(chosen_key) if chosen_key else env.get("FACESEARCH_KEY") or None,
            key_file=chosen_key,
            servers={kind: found for kind in VectorDatabaseKind if (found := _server(kind, env))},
        )


def _location(chosen: Location | str, cache: Path) -> Location:
    if isinstance(chosen, DatabaseUrl):
        return chosen
    if isinstance(chosen, str) and chosen:
        return parse_location(chosen, cache)
    return arguments.path("gallery", chosen).expanduser()


def _chosen(name: str, value: object, env: Mapping[str, str]) -> str | None:
    """The argument, else the variable of that name."""
    return env.get(f"FACESEARCH_{name.upper()}") or None if value is None else arguments.text(name, value)


def _count(name: str, value: int | None) -> int | None:
    return None if value is None else arguments.whole(name, value, 1)


def _index(chosen: str) -> IndexKind:
    try:
        return IndexKind(chosen)
    except ValueError as error:
        raise ConfigError(f"There is no index {chosen!r}.", f"Choose from: {', '.join(IndexKind)}.") from error


def _fusion(chosen: str) -> Fusion:
    try:
        return Fusion(chosen)
    except ValueError as error:
        raise ConfigError(f"There is no fusion {chosen!r}.", f"Choose from: {', '.join(Fusion)}.") from error


def _threshold(flag: float | None, env: Mapping[str, str]) -> float | None:
    given = env.get("FACESEARCH_THRESHOLD") or None if flag is None else flag
    if given is None:
        return None
    try:
        value = float(given) if flag is None else arguments.number("threshold", flag, -1, 1)
    except (ValueError, ConfigError):
        raise ConfigError(
            f"The threshold {given} is not a cosine similarity.",
            "Give a number between -1 and 1; scores of one person are usually above 0.4.",
        ) from None
    return Threshold(value, "given").value


def _fpir(flag: float | None, env: Mapping[str, str]) -> float | None:
    given = env.get("FACESEARCH_FPIR") or None if flag is None else flag
    if given is None:
        return None
    try:
        value = float(given) if flag is None else arguments.number("fpir", flag, 0, 1)
    except (ValueError, ConfigError):
        value = 0.0
    if not 0 < value < 1:
        raise ConfigError(f"The FPIR {given} is no rate.", "Give a number above 0 and below 1, as 0.01.")
    return value


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def read_key_file(file: Path) -> str:
    """The key in a file, without the line's end. Raises `ConfigError` where there is none."""
    try:
        key = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        cause = cause_of(error) if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"The key cannot be read from {file}: {cause}.", "Name a text file with the key.") from error
    if not key:
        raise ConfigError(f"The file {file} holds no key.", "Put the gallery's key on its first line.")
    return key


def _server(kind: VectorDatabaseKind, env: Mapping[str, str]) -> VectorServer | None:
    address = None if kind.is_within else env.get(kind.setting)
    if not address:
        return None
    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            f"{address} is no address of {kind.title()}.", f"For example: {kind.setting}=http://host:port"
        )
    file = env.get(f"{kind.setting}_TOKEN_FILE")
    token = read_key_file(Path(file).expanduser()) if file else env.get(f"{kind.setting}_TOKEN")
    return VectorServer(address, token or None)


def completes_for_bash() -> bool:
    """Whether bash asks for words that complete a command; it inserts them without quoting them."""
    return os.environ.get("_FACESEARCH_COMPLETE") == "complete_bash"


def _user_cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("facesearch", appauthor=False))


def _model_folders(env: Mapping[str, str]) -> tuple[Path, ...]:
    cache = _user_cache() / "models"
    insightface = Path("~/.insightface/models").expanduser()
    chosen = env.get("FACESEARCH_MODELS")
    return (*((Path(chosen).expanduser(),) if chosen else ()), cache, insightface)
