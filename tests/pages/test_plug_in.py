"""Plugging in without a browser: what the page says of a choice, and that no link or message breaks it."""

import json

import pytest

from odconv import plugging
from odconv.plugging import ROWS, Plan, Row
from odconv.ui import conversions, devices
from odconv.ui import plugging as page
from odconv.words import say
from tests.pages.test_explore import _fresh_caches, headings, sentences  # noqa: F401
from tests.pages.test_explore import opened as opened_page
from tests.pages.widgets import find

SMALL = {"plug-network": "own", "plug-side": "16"}


def opened(**query):
    return opened_page(page="plug_in", **query)


def data(app, name):
    (found,) = [one.proto for one in app.get("bidi_component") if one.proto.component_name == f"odconv_{name}"]
    return json.loads(found.json)


def plan(app):
    return app.session_state["view"].plug


def lines(app):
    return app.code[0].value


def whole(app):
    return not app.exception and headings(app)[-1] == say("en", "plug.table")


def test_every_choice_goes_into_the_link_the_totals_and_the_lines_and_reset_takes_it_back():
    app = opened(**SMALL)
    assert whole(app)
    before = data(app, "totals")["rows"][0]["bars"]
    app.button_group(key="plug_kernels").set_value(2).run()
    app.button_group(key="plug_reduction").set_value(4).run()
    app.selectbox(key="plug_where").set_value("one").run()
    assert whole(app)
    wanted = {"plug-kernels": "2", "plug-reduction": "4", "plug-where": "one", **SMALL}
    assert {name: app.query_params[name] for name in wanted} == wanted
    assert plan(app) == Plan("own", 2, 4, "one", side=16)
    assert lines(app) == plugging.pytorch_lines("en", plan(app))
    now = data(app, "totals")
    assert now["rows"][0]["bars"][0] | {"share": 0} == before[0] | {"share": 0}
    assert now["rows"][0]["bars"][1] != before[1]
    assert now["sentence"] == say("en", "plug.dynamic", count=1, total=5)
    app.button(key="plug_reset").click().run()
    assert plan(app) == Plan()
    assert not any(name.startswith("plug") for name in app.query_params)
    assert sentences(app) == []


def test_rows_are_changed_added_and_taken_away():
    app = opened(**SMALL, **{"plug-rows": "8:3:2:none:1,8:3:1:depthwise:1"})
    assert whole(app)
    find(app.number_input, "plug_channels_0").set_value(12).run()
    assert find(app.number_input, "plug_channels_1").disabled
    assert find(app.number_input, "plug_channels_1").value == 12  # depth-wise, it puts out what it gets
    find(app.selectbox, "plug_depthwise_1").set_value(False).run()
    find(app.selectbox, "plug_kernel_size_1").set_value(5).run()
    app.button(key="plug_add").click().run()
    find(app.selectbox, "plug_dilation_2").set_value(3).run()
    assert whole(app)
    assert plan(app).rows == (Row(12, stride=2), Row(8, 5), Row(8, 5, dilation=3))
    assert app.query_params["plug-rows"] == "12:3:2:none:1,8:5:1:none:1,8:5:1:none:3"
    assert "nn.Conv2d(8, 8, 5, padding=6, dilation=3, bias=False)" in lines(app)
    app.button(key="plug_remove").click().run()
    app.button(key="plug_remove").click().run()
    assert plan(app).rows == (Row(12, stride=2),)
    assert "plug_remove" not in [button.key for button in app.button]
    app.number_input(key="plug_side").set_value(48).run()
    assert app.query_params["plug-side"] == "48"


@pytest.mark.parametrize(
    ("field", "value"),
    [("channels", 0), ("channels", 10**9), ("channels", "x"), ("channels", None), ("stride", 7), ("channels", 2.5)],
)
def test_a_number_that_a_browser_may_not_send_changes_nothing(monkeypatch, field, value):
    chosen = Plan("own")
    monkeypatch.setattr(page.view, "current", lambda: type("View", (), {"plug": chosen}))
    monkeypatch.setattr(page.view, "change", lambda **changes: pytest.fail("it was taken"))
    page._changer(0, field)(value)
    page._changer(len(ROWS), "channels")(8)
    page._choose_side(8)
    page._choose_side(None)


@pytest.mark.parametrize("network", ["block", "trained", "mobilenetv2"])
def test_other_networks_are_shown_whole(network):
    app = opened(**{"plug-network": network, "plug-kernels": "1"})
    assert whole(app)
    assert sentences(app) == []
    assert ("plug_where" in [box.key for box in app.selectbox]) == (network != "block")
    assert "plug_add" not in [button.key for button in app.button]
    assert len(data(app, "plugged")["rows"]) == {"block": 1, "trained": 21, "mobilenetv2": 53}[network]


def test_what_takes_too_much_is_one_sentence_and_the_lines_stay(monkeypatch):
    monkeypatch.setattr(conversions.plugging, "plug_in", None)  # nothing is built
    app = opened(**{"plug-network": "resnet50", "plug-kernels": "8"})
    assert not app.exception
    assert len(sentences(app, "warning")) == 1
    assert "num_kernels=8" in lines(app)
    assert headings(app) == [say("en", "plug.lines")]


def test_a_choice_that_no_convolution_is_of_says_so():
    app = opened(**SMALL, **{"plug-where": "depthwise", "plug-rows": "8:3:1:none:1"})
    assert whole(app)
    assert data(app, "totals")["sentence"] == say("en", "plug.dynamic_none")


def test_time_is_measured_on_a_click_and_belongs_to_that_choice_alone():
    app = opened(**SMALL)
    unmeasured = say("en", "plug.unmeasured")
    assert data(app, "totals")["rows"][2]["absent"] == unmeasured
    app.button(key="plug_measure").click().run()
    assert whole(app)
    drawn = data(app, "totals")["rows"][2]
    assert len(drawn["bars"]) == 2
    assert drawn["factor"].startswith("×")
    app.button_group(key="plug_kernels").set_value(1).run()
    assert data(app, "totals")["rows"][2]["absent"] == unmeasured


def test_while_others_keep_the_network_the_page_says_so_and_asks_again(monkeypatch):
    monkeypatch.setattr(devices, "PATIENCE", 0.0)
    with devices.hold("cpu", 0.0):
        app = opened(**SMALL)
        assert not app.exception
        assert len(sentences(app, "warning")) == 1
        assert lines(app)
    app.button(key="again-plug").click().run()
    assert whole(app)
    with devices.hold("cpu", 0.0):
        app.button(key="plug_measure").click().run()
        assert whole(app)  # what is known stays
        assert len(sentences(app, "warning")) == 1


def test_the_same_choice_is_converted_once(monkeypatch):
    asked = []
    convert = plugging.plug_in
    monkeypatch.setattr(plugging, "plug_in", lambda *given: asked.append(given) or convert(*given))
    first = conversions.plug_in(Plan("own", side=16))
    assert conversions.plug_in(Plan("own", side=16, where="default")) == first
    assert conversions.plug_in(Plan("trained", 1, side=16)) == conversions.plug_in(Plan("trained", 1))
    assert len(asked) == 2


def test_the_page_speaks_chinese():
    app = opened(lang="zh", **SMALL)
    assert not app.exception
    assert headings(app) == [say("zh", f"plug.{name}") for name in ("rows", "lines", "table")]
    assert say("zh", "plug.line_same") in lines(app)
