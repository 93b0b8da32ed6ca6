"""Workers that end with what started them, and SIGTERM as Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dml_lightning.processes import sigterm_as_interrupt

PARENT = """
import os, sys, time
from dml_lightning.processes import serve
parent = os.getpid()
child = os.fork()
if not child:
    serve(parent)
    os.write(1, b"serves\\n")  # at once: print writes the end of its line apart
    time.sleep(60)
os.write(1, f"{child}\\n".encode())
time.sleep(60)
"""


def test_sigterm_acts_like_ctrl_c_and_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_goes_without() -> None:
    def work() -> None:
        with sigterm_as_interrupt():
            done.append(signal.getsignal(signal.SIGTERM))

    done: list[object] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's signal at the death of a parent")
def test_a_worker_outlives_ctrl_c_and_not_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = sorted([process.stdout.readline().strip(), process.stdout.readline().strip()])
        assert lines[1] == "serves"
        child = int(lines[0])
        os.kill(child, signal.SIGINT)
        time.sleep(0.2)
        assert b"S" in _state(child)  # still asleep
        process.kill()
        process.wait()
    until = time.monotonic() + 10
    while _state(child) not in (b"", b"Z") and time.monotonic() < until:
        time.sleep(0.05)
    assert _state(child) in (b"", b"Z")


def _state(number: int) -> bytes:
    """The state of a process, as in S for asleep or Z for ended; nothing where there is none."""
    try:
        return Path(f"/proc/{number}/stat").read_bytes().rsplit(b")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return b""
