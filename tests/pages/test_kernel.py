"""The kernel itself on the Explore page, without a browser: every kind of network, and links that ask for what is not there."""

import pytest

from odconv.backbones import od_mobilenetv2, od_resnet18, od_resnet50, resnet18
from odconv.checkpoint import save_checkpoint
from tests.pages.test_explore import _fresh_caches, captions, headings, opened, sentences  # noqa: F401

CARD = {"image_size": 32, "resize": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "classes": list("abcde")}


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """The page, opened on a model that a card calls small or not."""
    monkeypatch.setenv("ODCONV_WEIGHTS", str(tmp_path))

    def show(model, stem="small", **query):
        card = CARD | ({"stem": stem} if stem else {})
        save_checkpoint(model.eval(), card, tmp_path / "own.safetensors")
        return opened(model="own.safetensors", **query)

    return show


def kernel_heading(app):
    return [heading for heading in headings(app) if heading.startswith("The kernel itself")]


@pytest.mark.parametrize("sample", ["dahlia", "dahlia,espresso"])
@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (lambda: od_resnet50(5, width=8, num_kernels=2, stem="small"), "layer1.0.conv1"),  # 1x1
        (lambda: od_resnet18(5, width=8, num_kernels=1, stem="small"), "layer2.0.conv1"),
        (lambda: od_resnet50(5, width=8, num_kernels=1, stem="small"), "layer1.0.conv3"),  # 1x1, and one kernel
    ],
    ids=["1x1", "one kernel", "1x1, one kernel"],
)
def test_a_layer_without_some_heads_shows_its_kernel(shown, model, layer, sample):
    app = shown(model(), layer=layer, sample=sample)
    assert not app.exception
    assert kernel_heading(app) == [f"The kernel itself: {layer}"]
    assert any("no typical picture to compare with" in caption for caption in captions(app)) == ("," not in sample)


def test_a_depth_wise_layer_has_one_input_channel_to_choose(shown):
    app = shown(od_mobilenetv2(5, width_mult=0.35, num_kernels=2), stem=None, layer="features.1.conv.0.0")
    assert not app.exception
    assert kernel_heading(app) == ["The kernel itself: features.1.conv.0.0"]
    assert app.number_input(key="channel").disabled
    assert not app.number_input(key="filter").disabled


def test_a_static_network_has_no_kernel_of_its_own_for_a_picture(shown):
    app = shown(resnet18(5, width=8, stem="small"), sample="dahlia")
    assert not app.exception
    assert kernel_heading(app) == []


def test_a_filter_that_the_layer_does_not_have_is_said_and_another_one_is_shown():
    app = opened(filter="99999", channel="3")
    assert not app.exception
    assert len(sentences(app)) == 1
    assert "filters 0 to 31" in sentences(app)[0]
    assert app.number_input(key="channel").value == 3
    assert 0 <= app.number_input(key="filter").value < 32


def test_a_filter_that_is_chosen_goes_into_the_link_with_its_channel():
    app = opened(sample="dahlia,espresso")
    channel = app.number_input(key="channel").value
    app.number_input(key="filter").set_value(4).run()
    assert app.query_params["filter"] == "4"
    assert app.query_params["channel"] == str(channel)
    app.button(key="most").click().run()
    assert "filter" not in app.query_params


def test_what_a_browser_makes_up_does_not_leave_the_layer():
    app = opened(filter="3", channel="3")
    for made_up in (-1, 32, 10**6, 2.5):
        app.number_input(key="filter").set_value(made_up).run()
        assert not app.exception
        assert sentences(app) == []
        assert int(app.query_params["filter"]) in range(32)
