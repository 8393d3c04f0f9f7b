"""How tests are spread over processes. What each of these needs is in ``each_process.py``."""

import pytest


def pytest_xdist_auto_num_workers(config):
    """Two processes for the whole suite; for the files that somebody names, none but this one, which is ready sooner."""
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_configure(config):
    """A process that only hands tests to others is spared Torch and Streamlit: while it reads them, the others wait."""
    if hasattr(config, "workerinput") or config.getoption("dist") == "no":
        config.pluginmanager.import_plugin("tests.each_process")
