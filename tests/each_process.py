"""What a process that runs tests sets up once, and the fixtures of all tests."""

import gc
import os
import sys
from functools import cache

import pytest
import torch
from hypothesis import settings
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import local_script_runner

from odconv.backbones import od_resnet18
from odconv.ui import engine

# The same examples every time and no deadline: a shared machine is slow now and then.
settings.register_profile("odconv", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("odconv")

# What a page opens with is a matter of few tests; the others look at one network, whatever the page.
os.environ["ODCONV_MODEL"] = engine.LESSONS

# The tensors here are tiny: a second thread wins nothing, and waits for long where the cores are shared.
torch.set_num_threads(1)
HAS_GPU = torch.cuda.is_available()

# Reading a hundred test files makes a million objects and no garbage.
gc.disable()


def pytest_collection_finish(session):
    """A million objects of torch, Streamlit and the tests themselves, which stay: no later search for garbage looks at them."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Every test draws the same numbers, alone or after others; before fixtures are set up, since those draw, too."""
    torch.default_generator.manual_seed(
        0
    )  # ``torch.manual_seed`` looks for devices, which takes longer than many a test
    if HAS_GPU:
        torch.cuda.manual_seed_all(0)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    """After fixtures are gone. A number of threads that a test leaves behind changes the time, and the rounding, of all that come after it."""
    threads = torch.get_num_threads()
    if threads != 1:
        torch.set_num_threads(1)
    assert threads == 1, f"{item.nodeid} left torch with {threads} threads"


@pytest.fixture(scope="session", autouse=True)
def _quick_pages():
    """A page that is tested without a browser is a start of Streamlit's, which looks through all installed packages each
    time; and while the page runs, the test asks a thousand times a second whether it is done, in the page's own time.
    """
    ask_until = local_script_runner.require_widgets_deltas

    def wait(runner, timeout=3.0):
        runner._script_thread.join(timeout)
        ask_until(runner, timeout if runner.script_stopped() else 0)  # which fails at once

    patch = pytest.MonkeyPatch()
    patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
    patch.setattr(local_script_runner, "require_widgets_deltas", wait)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _main_stays():
    """A page that is tested without a browser puts itself in the place of ``__main__``, where child processes look."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session")
def shake():
    """Moves every bias, norm and statistic off its initial value, so that none can be forgotten unnoticed."""

    def shaken(model, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.ndim == 1 and tensor.is_floating_point():
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator) + name.endswith("weight"))
        return model

    return shaken


@pytest.fixture(scope="session")
def small_model(shake):
    """A whole ODConv network that takes milliseconds. Shared by all tests, so none may change it."""
    torch.manual_seed(0)
    return shake(od_resnet18(5, width=8, stem="small")).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
