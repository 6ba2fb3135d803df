"""Progress bars on a terminal; elsewhere, nothing on the way."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Told = Callable[[str, int], None]


@contextlib.contextmanager
def progress_bars(verb: str, totals: dict[str, int]) -> Iterator[Told]:
    """Gives a function that is told how many things of a name are done. A bar appears when its name
    is first told; `totals`: how many there are of each, and whatever is not there has no end.
    """
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        tasks = {}

        def told(name: str, done: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(f"{verb} {name}", total=totals.get(name))
            progress.update(tasks[name], completed=done)

        yield told
