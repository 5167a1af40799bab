"""`facesearch keys` and `serve`, as far as they go without a client."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Command


def test_a_key_is_shown_once_listed_without_itself_and_revoked(command: Command, gallery: Path) -> None:
    made = command("keys", "create", "web-shop", "--scope", "read", "--scope", "enroll")
    key = made.out.strip()
    assert (made.code, key[:4]) == (0, "fsk_")
    (listed,) = command("keys", "list", "--json").records
    assert (listed["name"], listed["scopes"]) == ("web-shop", ["enroll", "read"])
    assert key not in str(listed)
    assert "web-shop" in command("keys", "list").out
    assert command("keys", "create", "web-shop").code == 4
    assert command("keys", "revoke", "web-shop").code == 0
    assert command("keys", "list", "--json").records == []
    assert command("keys", "revoke", "web-shop").code == 4


def test_a_server_others_reach_does_not_start_without_a_key(command: Command, gallery: Path) -> None:
    run = command("serve", "--host", "0.0.0.0", "--port", "0")
    assert run.code == 2
    assert "Run: facesearch keys create" in run.err
    assert run.out == ""


def test_an_address_that_cannot_be_used_is_an_error(command: Command, gallery: Path) -> None:
    command("keys", "create", "any")
    run = command("serve", "--host", "192.0.2.1", "--port", "0")
    assert run.code == 2
    assert "192.0.2.1" in run.err


def test_a_gallery_is_made_for_a_key_and_for_nothing_less(command: Command, tmp_path: Path) -> None:
    for arguments in (["list"], ["revoke", "shop"], ["create", "no name"]):
        assert command("keys", *arguments, "--gallery", tmp_path / "new").code in (2, 4)
        assert list(tmp_path.iterdir()) == []
    assert command("keys", "create", "shop", "--gallery", tmp_path / "new").code == 0
    assert [each["name"] for each in command("keys", "list", "--json", "--gallery", tmp_path / "new").records] == [
        "shop"
    ]
