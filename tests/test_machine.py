"""What a process may use of the machine, also where it is little and where nothing tells."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from facesearch import machine


def test_address_space_is_told_where_there_is_proc_and_unknown_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    told = machine.address_space()
    assert told is None or told > 2**20
    monkeypatch.setattr(machine, "_STATM", "/nowhere/statm")
    assert machine.address_space() is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Processes are not kept to cores here.")
def test_cores_that_the_process_may_not_run_on_are_not_counted() -> None:
    program = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from facesearch.machine import usable_cores; print(usable_cores())"
    )
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout.strip() == b"1"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_a_decoding_process_limits_its_memory_where_there_is_no_proc() -> None:
    program = (
        "import resource\nfrom facesearch import machine\nfrom facesearch.recognition.decode_worker import _limit\n"
        "machine._STATM = '/nowhere/statm'; _limit(2**30); print(resource.getrlimit(resource.RLIMIT_AS)[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert 2**30 < int(done.stdout) < 1.1 * 2**30
