"""`cupola export` and `cupola import`: a deployment moves by two commands."""

from __future__ import annotations

import json
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import apsw
import polars
import pytest


@pytest.fixture
def server(start: Any) -> Any:
    return start("serve")


@pytest.fixture
def noted(server: Any, cupola: Any) -> Any:
    for text in ("milk", "bread"):
        cupola("run", "notes:add", json.dumps({"text": text}), cwd=server.app)
    return server


def notes(cupola: Any, server: Any) -> list[str]:
    return sorted(json.loads(cupola("run", "notes:list", cwd=server.app).stdout))


def test_a_running_deployment_is_written_in_each_format(
    noted: Any, cupola: Any, tmp_path: Path
) -> None:
    """Beside the server, and all of one moment."""
    for name in ("out.zip", "out.sqlite", "out.sql"):
        ended = cupola("export", tmp_path / name, cwd=noted.app)
        assert ended.returncode == 0, ended.stderr
        assert "Exported 2 documents of 1 tables" in ended.stdout
    said = cupola("export", tmp_path / "out", "--format", "parquet", "--json", cwd=noted.app)
    answer = json.loads(said.stdout)
    assert answer["tables"] == {"notes": 2} and answer["format"] == "parquet"

    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        lines = archive.read("notes/documents.jsonl").splitlines()
    assert sorted(json.loads(line)["text"] for line in lines) == ["bread", "milk"]
    rows = apsw.Connection(str(tmp_path / "out.sqlite")).execute("SELECT text FROM notes")
    assert sorted(text for (text,) in rows) == ["bread", "milk"]
    assert polars.read_parquet(tmp_path / "out/notes.parquet")["text"].len() == 2
    assert 'INSERT INTO "notes"' in (tmp_path / "out.sql").read_text()


def test_an_export_needs_no_server(noted: Any, cupola: Any, tmp_path: Path) -> None:
    noted.stop()
    ended = cupola("export", tmp_path / "out.zip", "--data", noted.data)
    assert (ended.returncode, (tmp_path / "out.zip").exists()) == (0, True), ended.stderr


def test_an_export_is_imported_again(noted: Any, cupola: Any, tmp_path: Path) -> None:
    """What would be deleted has to be wanted."""
    file = tmp_path / "out.zip"
    cupola("export", file, "--include-file-storage", cwd=noted.app)
    cupola("run", "notes:add", '{"text": "later"}', cwd=noted.app)

    refused = cupola("import", file, cwd=noted.app)
    assert refused.returncode == 1 and "has 3 documents already" in refused.stderr
    unwanted = cupola("import", file, "--replace-all", cwd=noted.app)
    assert unwanted.returncode == 2 and "notes | 2 | 3 documents" in unwanted.stderr
    assert notes(cupola, noted) == ["bread", "later", "milk"]

    replaced = cupola("import", file, "--replace-all", "--yes", cwd=noted.app)
    assert (replaced.returncode, replaced.stdout) == (0, "Added 2 documents.\n"), replaced.stderr
    assert notes(cupola, noted) == ["bread", "milk"]


def test_rows_of_other_files_are_added(noted: Any, cupola: Any, tmp_path: Path) -> None:
    table, lines = tmp_path / "notes.csv", tmp_path / "lines"
    table.write_text("text\neggs\n")
    lines.write_text('{"text": "tea"}\n')
    cupola("import", table, "--table", "notes", "--append", cwd=noted.app)
    said = cupola(
        "import", lines, "--format", "jsonl", "--table", "notes", "--append", "--json",
        cwd=noted.app,
    )  # fmt: skip
    assert json.loads(said.stdout)["rowsWritten"] == 1
    assert notes(cupola, noted) == ["bread", "eggs", "milk", "tea"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["export", "out"], 2, "Choose a --format"),
        (["export", "there.zip"], 2, "exists already"),
        (["export", "out.sql", "--include-file-storage"], 2, "Only a ZIP"),
        (["export", "out.zip", "--data", "nowhere"], 4, "There is no data"),
        (["import", "there"], 2, "Choose a --format"),
        (["import", "gone.csv", "--table", "t"], 2, "There is no file"),
        (["import", "there.zip", "--append", "--replace"], 2, "Choose one of"),
        (["import", "there.zip", "--table", "t"], 1, "names its tables itself"),
        (["import", "there.zip", "--yes"], 1, "no ZIP"),
        (["import", "there.zip", "--url", "ftp://x"], 2, "is no http://"),
        (["import", "there.zip", "--url", "http://127.0.0.1:1"], 5, "No server answers"),
        (["import", "there.zip", "--admin-key", "x|y"], 6, "The server refuses"),
    ],
)
def test_what_cannot_be_done_is_said(
    server: Any, cupola: Any, words: list[str], code: int, said: str
) -> None:
    (server.app / "there").write_text("nothing")
    (server.app / "there.zip").write_text("nothing")
    ended = cupola(*words, cwd=server.app)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert said in ended.stderr


def test_a_script_imports_in_one_request(noted: Any, cupola: Any) -> None:
    key = cupola("admin-key", noted.app).stdout.strip()
    url = f"{noted.url}/api/import?tableName=notes&format=jsonLines&mode=append"
    request = urllib.request.Request(url, b'{"text": "tea"}', {"Authorization": f"Convex {key}"})
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer) == {"numWritten": 1}
    assert notes(cupola, noted) == ["bread", "milk", "tea"]
