"""Pages without a browser: what comes with the app is read once, however often a test empties the app's caches."""

from functools import cache, lru_cache

import pytest
import torch

from odconv.backbones import od_mobilenetv2, od_resnet18, od_resnet50, resnet18
from odconv.checkpoint import file_versions, save_checkpoint
from odconv.ui import engine, pictures

CARD = {"image_size": 32, "resize": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "classes": list("abcde")}
NETWORKS = {
    "all heads": lambda: od_resnet18(5, width=8, stem="small"),
    "two kernels": lambda: od_resnet18(5, width=8, num_kernels=2, stem="small"),
    "one kernel": lambda: od_resnet18(5, width=8, num_kernels=1, stem="small"),
    "1x1": lambda: od_resnet50(5, width=8, num_kernels=2, stem="small"),  # no taps
    "1x1, one kernel": lambda: od_resnet50(5, width=8, num_kernels=1, stem="small"),
    "depth-wise": lambda: od_mobilenetv2(5, width_mult=0.35, num_kernels=2),  # no filter gate
    "depth-wise, one kernel": lambda: od_mobilenetv2(5, width_mult=0.35, num_kernels=1),
    "static": lambda: resnet18(5, width=8, stem="small"),
}


@pytest.fixture(scope="session", autouse=True)
def _what_comes_with_the_app_is_read_once():
    """A pass changes nothing in a network, so all tests can share it, as all visitors do."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((engine, "load_checkpoint"), (engine.atlas, "atlas_beside")):
            read = getattr(module, name)
            once = cache(lambda path, versions, read=read: read(path))
            patch.setattr(
                module,
                name,
                lambda path, read=read, once=once: (
                    once(path, file_versions(path)) if path.parent == engine.BUNDLED else read(path)
                ),
            )
        patch.setattr(engine, "cost", lru_cache(16)(engine.cost))
        patch.setattr(pictures, "_sample_image", cache(pictures._sample_image.__wrapped__))
        yield


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """One of ``NETWORKS`` -> the folder that holds it as ``own.safetensors``: one file, of which a page's answers are kept."""

    @cache
    def save(network):
        folder = tmp_path_factory.mktemp("networks")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = NETWORKS[network]().eval()
        card = CARD if network.startswith("depth-wise") else CARD | {"stem": "small"}
        save_checkpoint(model, card, folder / "own.safetensors")
        return folder

    return save


@pytest.fixture
def environment():
    """Sets environment variables. No ``monkeypatch``: nothing stands in for a network, so that those which are open can stay open."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def shown(folder_of, environment):
    """A page, opened on one of ``NETWORKS``."""
    from tests.pages.test_explore import opened

    def show(network, **query):
        environment.setenv("ODCONV_WEIGHTS", str(folder_of(network)))
        return opened(model="own.safetensors", **query)

    return show
