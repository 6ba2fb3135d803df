"""The app of these tests, bundled once as the published CLI would."""

import json
import subprocess
from pathlib import Path

import pytest

from cupola.functions.bundles import Bundle, Module

HERE = Path(__file__).parent
PACKAGES = HERE.parents[1] / "conformance" / "node"


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    if not (PACKAGES / "node_modules" / "esbuild").is_dir():
        pytest.skip("the npm packages are not installed: make node-packages")
    command = ["node", str(HERE / "bundle.mjs"), str(HERE / "app"), str(PACKAGES)]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    modules = tuple(Module(**module) for module in json.loads(output))
    return Bundle(
        modules,
        environment={"GREETING": "hello"},
        import_seed=bytes(range(32)),
        import_time_ms=1_700_000_000_000,
    )
