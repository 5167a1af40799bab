"""`export` and `import`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from facesearch.demo.portraits import PEOPLE
from tests.cli.conftest import Command


def test_a_gallery_is_exported_signed_and_answers_the_same_elsewhere(
    command: Command, gallery: Path, people_folder: Path, tmp_path: Path
) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    bundle, other = tmp_path / "b", tmp_path / "other"
    (written,) = command("export", bundle, "--sign-key", private, "--json").records
    assert (written["subjects"], written["photos"], written["templates"], written["signed"]) == (12, 48, 48, True)
    run = command("import", bundle, "--gallery", other)
    assert run.out == "Imported 12 people, 48 photos and 48 templates.\n"
    assert "--verify-key" in run.err
    probe = people_folder / PEOPLE[0] / "1.jpg"
    answers = [command("query", probe, "--json", "--gallery", each).records for each in (gallery, other)]
    assert answers[0] == answers[1]
    assert command("check", "--gallery", other).code == 0
    people = [command("people", "list", "--json", "--gallery", each).out for each in (gallery, other)]
    assert people[0] == people[1]

    run = command("import", bundle, "--gallery", other)
    assert (run.code, "--merge" in run.err) == (4, True)
    (done,) = command("import", bundle, "--merge", "--verify-key", public, "--gallery", other, "--json").records
    assert (done["subjects"], done["merged"], done["photos_known"], done["verified"]) == (0, 12, 48, True)
    assert command("people", "forget", PEOPLE[0], "--yes", "--gallery", other).code == 0
    run = command("import", bundle, "--merge", "--gallery", other)
    assert "erased from this gallery: 4 faces" in run.err
    assert command("people", "show", PEOPLE[0], "--gallery", other).code == 4
    assert command("import", tmp_path / "no", "--gallery", other).code == 2
