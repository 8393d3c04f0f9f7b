"""The kernel itself on the Explore page, without a browser: every kind of network, and links that ask for what is not there."""

import pytest

from tests.pages.test_explore import _fresh_caches, captions, headings, opened, sentences  # noqa: F401


def kernel_heading(app):
    return [heading for heading in headings(app) if heading.startswith("The kernel itself")]


@pytest.mark.parametrize("sample", ["dahlia", "dahlia,espresso"])
@pytest.mark.parametrize(
    ("network", "layer"),
    [("1x1", "layer1.0.conv1"), ("one kernel", "layer2.0.conv1"), ("1x1, one kernel", "layer1.0.conv3")],
)
def test_a_layer_without_some_heads_shows_its_kernel(shown, network, layer, sample):
    app = shown(network, layer=layer, sample=sample)
    assert not app.exception
    assert kernel_heading(app) == [f"The kernel itself: {layer}"]
    assert any("no typical picture to compare with" in caption for caption in captions(app)) == ("," not in sample)


def test_a_depth_wise_layer_has_one_input_channel_to_choose(shown):
    app = shown("depth-wise", layer="features.1.conv.0.0")
    assert not app.exception
    assert kernel_heading(app) == ["The kernel itself: features.1.conv.0.0"]
    assert app.number_input(key="channel").disabled
    assert not app.number_input(key="filter").disabled


def test_a_static_network_has_no_kernel_of_its_own_for_a_picture(shown):
    app = shown("static", sample="dahlia")
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
