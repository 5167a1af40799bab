"""The command line on a disk of 4 MB: python -m tests.durability.full_disk DISK PEOPLE PACK

A tmpfs is mounted on DISK, which takes a mount namespace of its own. Prints a JSON list of [step, exit code, output].
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from facesearch.cli.app import app

Step = tuple[str, int, str]


def run(step: str, *args: str) -> Step:
    result = CliRunner().invoke(app, list(args))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return step, result.exit_code, result.output


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def full(disk: Path, people: list[Path], pack: str) -> list[Step]:
    use = ("--pack", pack, "-g", str(disk / "gallery"))
    plain = use[2:]
    (one, *_), (other, *_), *_ = (sorted(folder.iterdir()) for folder in people)
    steps = [run(f"enroll {person.name}", "enroll", str(person), "--as", person.name, *use) for person in people[:2]]
    fill(disk / "filler")
    steps += [
        run("enroll, full", "enroll", str(people[0].parent), *use),
        run("query, full", "query", str(one), "--json", *use),
        run("check, full", "check", *plain),
        run("remove, full", "people", "remove", people[1].name, "--yes", *plain),
        run("query the other, full", "query", str(one), "--json", *use),
        run("query the removed, full", "query", str(other), "--json", *use),
        run("check again, full", "check", *plain),
        run("backup, full", "backup", str(disk / "gallery.fsbackup"), *plain),
    ]
    (disk / "filler").unlink()
    steps.append(run("enroll, free again", "enroll", str(people[0].parent), *use))
    steps.append(run("check, free again", "check", *plain))
    return steps


def limited(disk: Path, people: list[Path], pack: str) -> list[Step]:
    use = ("--pack", pack, "-g", str(disk / "limited"))
    steps = [run("limit: enroll before", "enroll", str(people[0]), "--as", people[0].name, *use)]
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    steps.append(run("limit: enroll", "enroll", str(people[0].parent), *use))
    steps.append(run("limit: check", "check", *use[2:]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    steps.append(run("limit: enroll after", "enroll", str(people[0].parent), *use))
    steps.append(run("limit: check after", "check", *use[2:]))
    return steps


if __name__ == "__main__":
    mounted = Path(sys.argv[1])
    folders = sorted(Path(sys.argv[2]).iterdir())
    found = limited(mounted, folders, sys.argv[3])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(mounted)], check=True)
    print(json.dumps(found + full(mounted, folders, sys.argv[3])))  # noqa: T201
