"""A deployment whose documents become tables."""

from __future__ import annotations

from ..conftest import tell  # noqa: F401  # a fixture
