"""Signals and exit codes at the moments when there is no server, or not yet."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path


def run_supervised(tmp_path: Path, child: str, then: str = "") -> "subprocess.Popen[str]":
    """A program that supervises `child`, whose code finds `runs`, how often it has run before."""
    program = textwrap.dedent("""
        import os, signal, sys, time
        from pathlib import Path
        from cupola.cli import supervisor
        file = Path(sys.argv[1])
        def run():
            runs = len(file.read_text()) if file.exists() else 0
            with file.open("a") as log:
                log.write("x")
        {child}
            return 0
        {then}
        sys.exit(supervisor.supervise(run))
    """).format(child=textwrap.indent(textwrap.dedent(child).strip(), " " * 4), then=then)
    command = [sys.executable, "-c", program, str(tmp_path / "runs")]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_a_server_that_is_killed_before_it_has_started_is_no_success(tmp_path: Path) -> None:
    process = run_supervised(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)")
    assert process.wait(20) == 128 + signal.SIGSEGV


def test_a_signal_between_two_children_stops_the_server(tmp_path: Path) -> None:
    """Nobody is there to hand it to; the next child must not start."""
    child = """
        supervisor.current.beat(10.0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    then = "supervisor.time.sleep = lambda s: s == 0.2 and os.kill(os.getpid(), signal.SIGTERM)"
    process = run_supervised(tmp_path, child, then)
    assert process.wait(20) == 0
    assert (tmp_path / "runs").read_text() == "x"


def test_a_second_child_hears_of_a_signal_before_it_has_handlers(tmp_path: Path) -> None:
    """It must not inherit its parent's, which would hand the signal to a process long gone."""
    child = """
        supervisor.current.beat(10.0)
        if runs == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    """
    process = run_supervised(tmp_path, child)
    while not (tmp_path / "runs").exists() or len((tmp_path / "runs").read_text()) < 2:
        os.sched_yield()
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(20) == 0
