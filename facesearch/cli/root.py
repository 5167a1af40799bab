"""The root of all commands: options they share, logs, and exit codes for errors."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from facesearch.cli.options import use_key_file
from facesearch.cli.output import be_quiet, pasteable
from facesearch.errors import ConfigError, EvaluationError, FaceCountError, FaceSearchError, PhotoError
from facesearch.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

log = logging.getLogger("facesearch")

EXIT_NEGATIVE = 1
"""Done, and the answer is no or needs a look: no match, a fault, a finding, a missed limit."""
EXIT_USAGE = 2
"""A wrong option or value, a path that does not exist, a data file that cannot be used."""
EXIT_PHOTO = 3
"""No photo or face could be used."""
EXIT_GALLERY_OR_MODEL = 4
"""The gallery, the models or this machine cannot do it: no such gallery or person, another model, ..."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
EXIT_CODES = (
    "Exit codes: 0 done; 1 done, and the answer is no or something needs a look; 2 wrong usage; 3 no photo or face "
    "could be used; 4 the gallery, a model or this machine failed; 130 stopped."
)
WELCOME = """\
Enroll photos of people once, then find out who is in any photo.

  Try it without photos of your own:      facesearch demo
  Enroll the photos in people/NAME/:      facesearch enroll people/
  Find out who is in a photo:             facesearch query photo.jpg
  Compare two photos:                     facesearch verify a.jpg b.jpg
  List the people who are enrolled:       facesearch people list

The gallery is the folder `data` where you are; --gallery or FACESEARCH_GALLERY names another.
All commands: facesearch --help
"""
ANYWHERE = frozenset({"-q", "--quiet", "-v", "--verbose"})
"""Options of `facesearch` that may stand behind the command as well."""
RESUMABLE = frozenset({"enroll", "reembed"})
"""Commands that report what is on disk while they work."""


def exit_code(error: FaceSearchError) -> int:
    """The code of a command that ended with this error."""
    if isinstance(error, ConfigError | EvaluationError):
        return EXIT_USAGE
    return EXIT_PHOTO if isinstance(error, PhotoError | FaceCountError) else EXIT_GALLERY_OR_MODEL


class FaceSearchGroup(TyperGroup):
    """Turns errors into one sentence and the next step, for every command in one place."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Parse what stands before the command."""
        with _printable_usage():
            return super().make_context(*args, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the options that may stand anywhere as if they stood first."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, sorted(args[:end], key=lambda each: each not in ANYWHERE) + args[end:])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; its errors end in an exit code, never in a traceback."""
        try:
            with _printable_usage():
                return super().invoke(ctx)
        except FaceSearchError as error:
            log.info("The error comes from here:", exc_info=error)
            typer.secho(f"Error: {error.message}", fg=typer.colors.RED, err=True)
            if error.hint:
                command = error.hint.startswith("facesearch ")
                typer.echo(f"       {'Run: ' if command else ''}{pasteable(error.hint)}", err=True)
            raise typer.Exit(exit_code(error)) from None
        except KeyboardInterrupt:
            kept = "Everything that was reported is on disk. The same command continues from here."
            typer.echo(f"\nStopped. {kept if ctx.invoked_subcommand in RESUMABLE else ''}".rstrip(), err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except typer.Abort:  # Ctrl-C at a question, or the answer no
            typer.echo("Stopped. Nothing was changed.", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader (head, less) went away: nobody is left to tell. Keep the interpreter from flushing at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            if error.filename is None:
                raise
            named = printable(str(error.filename))
            typer.secho(f"Error: {named} cannot be used: {error.strerror}.", fg=typer.colors.RED, err=True)
            raise typer.Exit(EXIT_USAGE) from None


@contextmanager
def _printable_usage() -> Iterator[None]:
    """Make what a wrong command line is told printable: it quotes arguments, which may be names of files."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "message"):  # of click, which typer keeps in two places
            error.message = printable(error.message)
        raise


def new_app(*modules: ModuleType) -> typer.Typer:
    """Make `facesearch` with the commands of these modules."""
    app = typer.Typer(
        cls=FaceSearchGroup,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Find out who is in a photo: enroll a folder of people, then search it with photos.",
        epilog=f"{EXIT_CODES}\n\nTry it without photos of your own: facesearch demo",
    )
    app.callback(invoke_without_command=True)(prepare)
    for module in modules:
        module.register(app)
    return app


def new_group(help: str) -> typer.Typer:  # noqa: A002  # typer's name for it
    """Make a group of commands."""
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=help)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"facesearch {version('facesearch')}")
        raise typer.Exit


def prepare(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  # its callback acts before any command
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="File with the key of an encrypted gallery [FACESEARCH_KEY_FILE, FACESEARCH_KEY].",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also print the log, and where an error comes from.")
    ] = False,
) -> None:
    """Set up what every command shares: the gallery's key, notes and logs, output that survives any file name."""
    use_key_file(key_file)
    be_quiet(quiet)
    os.umask(0o077)  # reports, drawings and exports show faces and names: only their owner may read them
    level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(format="facesearch: %(message)s", stream=sys.stderr)
    logging.getLogger().setLevel(level)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if context.invoked_subcommand is None:
        typer.echo(WELCOME, nl=False)
