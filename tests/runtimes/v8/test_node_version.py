"""What is said of the installed Deno is true."""

from __future__ import annotations

import os
import subprocess

import deno

from cupola.runtimes.v8.node_version import node_runtime


def test_the_version_of_node_is_what_deno_says() -> None:
    """A newer Deno may be compatible with a newer Node: then the table needs a row."""
    command = [deno.find_deno_bin(), "eval", "console.log(process.version)"]
    environment = {**os.environ, "DENO_NO_UPDATE_CHECK": "1"}
    said = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    major = said.stdout.strip().lstrip("v").partition(".")[0]
    assert node_runtime() == f"nodejs{major}.x"
