"""A deployment that is mirrored from outside."""

from __future__ import annotations

from ..conftest import tell  # noqa: F401  # a fixture
