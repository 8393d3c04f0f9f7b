"""Pages without a browser: what comes with the app is read once, however often a test empties the app's caches."""

from functools import cache

import pytest

from odconv.checkpoint import file_versions
from odconv.ui import engine


@pytest.fixture(scope="session", autouse=True)
def _bundled_networks_are_read_once():
    """A pass changes nothing in a network, so all tests can share it, as all visitors do."""
    read = engine.load_checkpoint
    once = cache(lambda path, versions: read(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            engine,
            "load_checkpoint",
            lambda path: once(path, file_versions(path)) if path.parent == engine.BUNDLED else read(path),
        )
        yield
