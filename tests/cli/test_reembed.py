"""`reembed`, `models retire`: the way to another model and back, as a person walks it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from facesearch.demo.portraits import PEOPLE
from tests.cli.conftest import Command


@pytest.fixture
def new_pack(standin_pack: Path, tmp_path: Path) -> Path:
    """A pack whose templates do not compare with the stand-in's: its recogniser gets another input."""
    folder = tmp_path / "new pack"
    shutil.copytree(standin_pack, folder)
    text = (folder / "pack.toml").read_text().replace("input_std = ", "input_std = 1")
    (folder / "pack.toml").write_text(text)
    return folder


def test_a_gallery_goes_to_another_model_and_back(
    command: Command, gallery: Path, new_pack: Path, people_folder: Path, tmp_path: Path
) -> None:
    probe = people_folder / PEOPLE[0] / "1.jpg"
    (before,) = command("query", probe, "--json").records
    run = command("reembed", "--pack", new_pack)
    assert run.code == 0
    assert f"facesearch reembed --pack '{new_pack}' --precision fp32 --activate" in run.err
    assert "facesearch eval compare old/report.json new/report.json" in run.err
    assert command("query", probe, "--json").records == [before]
    assert list(command("info", "--json").records[0]["other_models"].values()) == [48]
    for name in PEOPLE[:4]:
        shutil.copytree(people_folder / name, tmp_path / "labelled" / name)
    for name, options in (("old", []), ("new", ["--pack", new_pack])):
        run = command("eval", tmp_path / "labelled", "--out", tmp_path / name, "--no-cache", *options)
        assert run.code == 0
    assert command("eval", "compare", tmp_path / "old/report.json", tmp_path / "new/report.json").code == 0

    run = command("reembed", "--pack", new_pack, "--activate", "--json")
    assert (run.code, len(run.records)) == (0, 1)
    assert run.records[0]["missing"] == 0
    assert "Calibrate: facesearch calibrate" in run.err
    (after,) = command("query", probe, "--json").records
    assert after["subject"] == before["subject"]
    assert {each["template_id"] for each in after["candidates"]}.isdisjoint(
        {each["template_id"] for each in before["candidates"]}
    )
    assert command("reembed", "--rollback").code == 0
    assert command("query", probe, "--json").records == [before]
    assert command("check").code == 0

    assert command("models", "retire", new_pack).out.startswith("Removed 48 templates")
    assert command("info", "--json").records[0]["other_models"] == {}
    run = command("reembed", "--rollback")
    assert (run.code, "no model to roll back to" in run.err) == (4, True)


def test_missing_photos_are_listed_and_the_switch_waits(
    command: Command, gallery: Path, new_pack: Path, people_folder: Path
) -> None:
    photo = people_folder / PEOPLE[0] / "1.jpg"
    away = photo.rename(photo.with_suffix(".away"))
    try:
        run = command("reembed", "--pack", new_pack, "--json")
    finally:
        away.rename(photo)
    assert run.code == 1
    assert [(each["photo"], each["status"]) for each in run.records if each["missing"]] == [(str(photo), "gone")]
    assert "Enrolled faces without a template of" in run.err
    photo.rename(away)
    try:
        run = command("reembed", "--pack", new_pack, "--activate")
        assert (run.code, "--allow-missing" in run.err) == (4, True)
        run = command("reembed", "--pack", new_pack, "--activate", "--allow-missing")
        assert (run.code, "which searches miss" in run.err) == (1, True)
        assert command("models", "retire", gallery).code == 4
    finally:
        away.rename(photo)
    assert command("reembed").code == 0  # the model in use is completed
    assert command("info", "--json").records[0]["templates"] == 48
    assert command("reembed", "--rollback", "--activate").code == 2
