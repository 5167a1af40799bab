"""`facesearch serve` and `facesearch keys`: a server of the gallery, and who may use it."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from facesearch.cli.options import (
    MODEL,
    EngineOptions,
    GalleryOption,
    JsonOption,
    engine_options,
    grouped_options,
    open_engine,
    refuse_idle_index,
)
from facesearch.cli.output import emit, note, print_records, tell
from facesearch.cli.root import new_group
from facesearch.errors import ConfigError
from facesearch.names import path_text
from facesearch.walking import cause_of


def register(app: typer.Typer) -> None:
    """Add the command and the group."""
    app.command()(serve)
    keys = new_group("API keys of the server: create, list, revoke.")
    keys.command()(create)
    keys.command("list")(list_keys)
    keys.command()(revoke)
    app.add_typer(keys, name="keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Options of the server itself, in the order of `--help`; fields are those of `ServerOptions`."""

    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen on. To be reached from other machines, make a key: `facesearch keys create NAME`.",
        ),
    ] = "127.0.0.1"
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000
    public_url: Annotated[
        str | None,
        typer.Option("--public-url", metavar="URL", help="Where a proxy makes the server reachable; needs a key."),
    ] = None
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", metavar="NAME", help="Host name to answer to, too; may be repeated."),
    ] = None
    root_path: Annotated[
        str,
        typer.Option(
            "--root-path", metavar="PATH", help="Path that a proxy takes off [default: the path of --public-url]."
        ),
    ] = ""
    trusted_proxies: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy",
            metavar="ADDRESS",
            help="Address or network whose X-Forwarded-For and -Proto are believed; may be repeated.",
        ),
    ] = None
    cors_origins: Annotated[
        list[str] | None,
        typer.Option(
            "--cors-origin",
            metavar="ORIGIN",
            help="Site whose pages may use the API, as https://example.org; may be repeated.",
        ),
    ] = None
    access_log: Annotated[
        str, typer.Option("--access-log", metavar="KIND", help="A line per request on stderr: off, common or json.")
    ] = "off"
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Show faces of enrolled photos, cut from their files and kept.")
    ] = False
    require_key: Annotated[bool, typer.Option("--require-key", help="Ask for a key on a loopback address too.")] = False


def _use_config(ctx: typer.Context, file: Path | None) -> Path | None:
    """Take what stands in a TOML file as if it had been typed before the rest of the command line."""
    if file is None:
        return None
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path_text(file)} cannot be read: {cause_of(error)}.", "Name a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path_text(file)} is not a TOML file: {error}.", "`facesearch serve --print-config` shows one."
        ) from error
    known = _settings(ctx)
    for name in found.keys() - known.keys():
        raise ConfigError(f"{path_text(file)} has {name!r}, which is no setting.", "facesearch serve --print-config")
    ctx.default_map = {known[name]: value for name, value in found.items()}
    return file


def _settings(ctx: typer.Context) -> dict[str, str]:
    """Options that a file may hold: the parameter by the name of the option."""
    named = {max(each.opts, key=len).lstrip("-"): str(each.name) for each in ctx.command.params}
    return {option: name for option, name in named.items() if option not in {"config", "print-config", "json", "help"}}


def _as_toml(ctx: typer.Context) -> str:
    """The options in force as a TOML file; those that are not set are comments."""
    values = {option: ctx.params.get(name) for option, name in _settings(ctx).items()}
    return "\n".join(
        f"# {option} =" if value is None else f"{option} = {dumps(value, ensure_ascii=False)}"
        for option, value in values.items()
    )


@engine_options(*MODEL, "threshold", "fpir", "index", "fusion")
@grouped_options(ServeOptions, [field.name for field in fields(ServeOptions)], "server")
def serve(
    ctx: typer.Context,
    *,
    server: ServeOptions,
    options: EngineOptions,
    config: Annotated[  # noqa: ARG001  # its callback has read it
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            is_eager=True,
            callback=_use_config,
            help="TOML file with these options by their names; the command line goes before it.",
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the options in force as a TOML file, and end.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Serve the gallery over HTTP: a web page at /, and an API for programs at /v1.

    As long as the gallery has no key (`facesearch keys create`), the server answers this machine only. Ctrl-C stops it,
    once the requests that it accepted are answered.

    Example: facesearch serve --port 8000
    """
    if print_config:
        typer.echo(_as_toml(ctx))
        return
    try:
        from facesearch.server.app import serve as run
        from facesearch.server.options import ServerOptions
    except ImportError as error:
        raise ConfigError("The server needs an extra package.", "Run: pip install 'facesearch[server]'") from error
    bounds = ServerOptions.of(**asdict(server))
    with open_engine(options) as engine:
        refuse_idle_index(options, engine)
        note(engine.extractor.provider.note)
        if not engine.has_gallery:
            note(f"Making an empty gallery in {engine.settings.gallery}.")
        run(engine, bounds, lambda url: tell({"url": url}, f"facesearch is at {url}", json=json))


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key; the audit log shows it.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", metavar="SCOPE", help="read, enroll, delete or metrics; may be repeated [default: read]."
        ),
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Make an API key and print it. It is shown only once, because the gallery keeps its hash alone.

    Once there is a key, every server of the gallery asks for one. `read` searches and lists; `enroll` adds photos,
    renames and sets attributes; `delete` removes and merges; `metrics` reads /v1/metrics and nothing else.

    Example: facesearch keys create web-shop --scope read --scope enroll
    """
    from facesearch.store.keys import create_key

    scopes = scope or ["read"]
    with open_engine(gallery=gallery) as engine, engine.whole_gallery() as opened:
        key = opened.write(create_key, name, scopes)
    if json:
        emit({"name": name, "scopes": sorted(scopes), "key": key})
        return
    note("Store the key now: it cannot be shown again.")
    typer.echo(key)


def list_keys(gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """List the API keys and their scopes.

    Example: facesearch keys list
    """
    from facesearch.store.keys import active_keys

    with open_engine(gallery=gallery) as engine:
        found = engine.gallery.read(active_keys)
    records = ({"name": key.name, "scopes": sorted(key.scopes), "created_at": key.created_at} for key in found)
    rows = ((key.name, " ".join(sorted(key.scopes)), key.created_at) for key in found)
    print_records(records, ("key", "scopes", "created"), rows, json=json)


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name.")],
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Revoke an API key. Running servers refuse it within a second.

    Example: facesearch keys revoke web-shop
    """
    from facesearch.store.keys import revoke_key

    with open_engine(gallery=gallery) as engine:
        engine.gallery.write(revoke_key, name)
    if json:
        emit({"revoked": name})
    note(f"The key {name} is revoked.")
