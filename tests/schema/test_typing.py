"""Type checkers know the documents of a table."""

from pathlib import Path

import mypy.api

SAMPLE = Path(__file__).with_name("typing_sample.py")


def test_mypy_knows_constructors_fields_and_ids() -> None:
    """The sample is clean under --strict, and each mistake in it that is marked as one is found."""
    output, errors, status = mypy.api.run(["--strict", "--no-error-summary", str(SAMPLE)])
    assert (output, errors, status) == ("", "", 0)
