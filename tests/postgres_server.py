"""A PostgreSQL server of Debian's for the tests: made in a temporary folder, reached over a socket in it, and killed.

It refuses to run as root, so that root runs it as the user `postgres`, whom Debian's package makes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import psycopg

from facesearch.store.location import DatabaseUrl, parse_location

USER = "postgres"
NAMES = count(1)


def find_binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest where there are several."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _runs(process: str) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


class PostgresServer:
    """A server of its own. `durable` has it sync, as a server for people does."""

    def __init__(self, binaries: Path, *, durable: bool = False) -> None:
        self._binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="facesearch-pg-"))  # short: a socket's path has 107 bytes at most
        self._as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if not os.geteuid() else []
        if self._as_user:
            shutil.chown(self.folder, USER, USER)
        self._options = [] if durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        options = ["--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self._run("initdb", "-D", str(self.folder / "data"), *options)
        self._process = self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._binaries / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, and wait until it answers."""
        options = ["-k", str(self.folder), "-c", "listen_addresses=", "-c", "max_connections=200", *self._options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, str(self._binaries / "postgres"), "-D", str(self.folder / "data"), *options],
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self._conninfo("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return self._process

    def kill(self) -> None:
        """Kill all its processes at once. They lead groups of their own, and none may outlive the next start."""
        self._process.send_signal(signal.SIGSTOP)  # it starts no more of them
        listed = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        children = listed.read_text(encoding="utf-8").split()
        for each in [self._process.pid, *(int(child) for child in children)]:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self._process.wait()
        while any(_runs(child) for child in children):
            time.sleep(0.01)

    def processor_seconds(self) -> float:
        """What it has used so far, its processes of connections that were closed included."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Kill it and remove everything."""
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _conninfo(self, database: str) -> str:
        return f"host={self.folder} user={USER} dbname={database}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run a statement outside of a transaction."""
        with psycopg.connect(self._conninfo(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def location(self, database: str, cache: Path) -> DatabaseUrl:
        """Where the gallery of that name is or will be."""
        found = parse_location(f"postgresql+psycopg://{USER}@/{database}?host={self.folder}", cache)
        assert isinstance(found, DatabaseUrl)
        return found

    def new_database(self, template: str = "template0") -> str:
        """A database of its own, a copy of `template`."""
        name = f"test{next(NAMES)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name
