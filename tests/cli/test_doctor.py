"""`facesearch doctor`: what runs here, what does not and why, and what to use."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from facesearch.jobs.doctor import ProviderTrial, recommend
from facesearch.recognition.runtime import PRECISIONS
from facesearch.types import Precision
from tests.cli.conftest import Command


def test_every_provider_and_precision_is_measured_or_says_why_not(command: Command, standin_pack: Path) -> None:
    found = command("doctor", "--pack", standin_pack, "--seconds", "0", "--json").records
    assert [(each["provider"], each["precision"]) for each in found] == [
        (provider, precision.value)
        for provider, precisions in PRECISIONS.items()
        for precision in Precision
        if precision in precisions
    ]
    for each in found:
        assert (each["milliseconds"] is None) == bool(each["problem"])
    cpu = found[0]
    assert (cpu["provider"], cpu["precision"], cpu["problem"]) == ("cpu", "fp32", "")
    assert cpu["milliseconds"] > 0


def test_a_provider_that_is_listed_and_does_not_start_is_not_measured(
    command: Command, standin_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [*onnxruntime.get_available_providers(), "CoreMLExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    found = command("doctor", "--pack", standin_pack, "--seconds", "0", "--json").records
    (coreml,) = (each for each in found if each["provider"] == "coreml")
    assert coreml["milliseconds"] is None
    assert coreml["problem"] == "The provider coreml is not available here."


def test_a_pack_that_is_not_here_is_named(command: Command, standin_pack: Path) -> None:
    run = command("doctor", "--pack", standin_pack.parent / "nosuch")
    assert run.code == 4
    assert "nosuch" in run.err


def test_what_is_clearly_faster_is_recommended() -> None:
    trials = [
        ProviderTrial("cpu", Precision.FP32, 100.0),
        ProviderTrial("cpu", Precision.INT8, 50.0),
        ProviderTrial("openvino", Precision.FP32, 90.0),
        ProviderTrial("cuda", Precision.FP32, None, "The provider cuda is not available here."),
    ]
    default, *others = recommend(trials)
    assert default == "The default is cpu in fp32: 100 ms a photo with one face."
    assert others == [
        "--provider cpu --precision int8 takes 50% of that. Its scores differ a little from the default's."
    ]


def test_nothing_is_recommended_where_the_default_does_not_run() -> None:
    assert recommend([ProviderTrial("cpu", Precision.FP32, None, "It does not run.")]) == []
