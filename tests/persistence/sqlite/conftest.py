"""A file in a folder, and notes on it."""

import shutil
import subprocess
import uuid

import pytest

from cupola.persistence.sqlite import SqlitePersistence


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "data.sqlite")


@pytest.fixture
def open_log(path):
    """Opens the file, as often as the test likes; closes what is left open."""
    opened = []

    def open_log(*arguments, at=path):
        opened.append(SqlitePersistence(at, *arguments))
        return opened[-1]

    yield open_log
    for log in opened:
        log.close()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of two megabytes that is really one."""
    folder = tmp_path / f"disk-{uuid.uuid4().hex}"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if not mount or subprocess.run([mount, *options], capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
