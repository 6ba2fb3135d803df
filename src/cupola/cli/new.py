"""`cupola new`: a small app that runs, copied from `template/`."""

import shlex
from pathlib import Path

from cupola.cli.exit_codes import CommandFailed, Exit

TEMPLATE = Path(__file__).parent / "template"
_NAMES = {"gitignore": ".gitignore"}  # under its own name, it would count in this repository
_PLACEHOLDER = "NAME"


def make_app(folder: Path) -> None:
    """Write the app, and print what to do next.

    Raises:
        CommandFailed: Something is there already, or the folder cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CommandFailed(
                f"{folder} is there already, and not empty. Choose another name.",
                Exit.CONFIGURATION,
            )
        files = _write(folder)
    except OSError as error:
        raise CommandFailed(
            f"{folder} cannot be written ({error.strerror}).", Exit.CONFIGURATION
        ) from None
    print(f"Made {folder} with {len(files)} files:\n")
    for file in files:
        print(f"  {file}")
    print("\nNext:\n")
    if folder.resolve() != Path.cwd():
        print(f"  cd {shlex.quote(str(folder))}")
    print("  cupola dev\n")


def _write(folder: Path) -> list[Path]:
    """Copy the template. Returns: the paths of the files, below `folder`."""
    written = []
    for source in sorted(TEMPLATE.rglob("*")):
        if not source.is_file() or "__pycache__" in source.parts:
            continue
        place = source.relative_to(TEMPLATE)
        place = place.with_name(_NAMES.get(place.name, place.name))
        text = source.read_text(encoding="utf-8")
        if place.name == "README.md":
            text = text.replace(_PLACEHOLDER, folder.resolve().name)
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="utf-8")
        written.append(place)
    return written
