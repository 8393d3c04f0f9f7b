"""A visitor's own checkpoint without a browser: brought, shown for what it is, looked into on every page, and nobody else's."""

import json
import re
from functools import partial

import pytest
import torch

from odconv.backbones import mobilenetv2, od_mobilenetv2, od_resnet18
from odconv.ui import components, navigation, own_checkpoint
from odconv.ui.reception import BUDGET
from odconv.words import say
from tests.door import bring
from tests.pages import test_explore
from tests.pages.test_explore import _fresh_caches, captions, headings, sentences, works  # noqa: F401
from tests.pages.widgets import find

opened = partial(test_explore.opened, page="checkpoint")
CARD = {"image_size": 32, "resize": 32, "stem": "small", "mean": [0.5] * 3, "std": [0.25] * 3, "classes": list("abcde")}
HOSTILE = "**[x](https://example.org)** <img src=x> net\u202ehtp.pth"


def save(network, path):
    torch.manual_seed(0)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """ODConv, K = 2, five classes."""
    network = od_resnet18(5, width=8, num_kernels=2, stem="small")
    return save(network, tmp_path_factory.mktemp("own") / "small.pth")


def session(app):
    return app.session_state["session"]


def with_network(path, name=None, card=CARD):
    """The page of a visitor who has just brought a checkpoint."""
    app = opened()
    assert bring(session(app), path, name, json.dumps(card).encode()) == ""
    return app.run()


def go(app, page, **query):
    app.query_params.clear()
    app.query_params.update(query)
    return app.switch_page(f"pages/{page}.py").run()


def facts(app):
    """What the table says of the network."""
    table = next(one.value for one in app.main.markdown if one.value.startswith("| | |"))
    rows = (line.strip("| ").split(" | ", 1) for line in table.splitlines()[2:])
    return {name: re.sub(r"\\(.)|\u2060", r"\1", value) for name, value in rows}


def entrance(app):
    """What the place to bring files to gets; None where there is none."""
    found = [one.proto for one in app.get("bidi_component") if one.proto.component_name == "odconv_bring"]
    return json.loads(found[0].json) if found else None


def test_the_page_says_what_is_taken_and_lists_the_authors_twelve_checkpoints():
    app = opened()
    assert not app.exception
    assert sentences(app) == []
    assert entrance(app)["refused"] == ""
    assert any("Up to 1,024 MiB" in caption and "4,096 MiB" in caption for caption in captions(app))
    table = next(one.value for one in app.main.markdown if one.value.startswith("| Network"))
    assert len(table.splitlines()) == 2 + 12
    assert len(set(re.findall(r"\]\((https://drive\.google\.com/\S+)\)", table))) == 12
    row = next(line for line in table.splitlines() if "ResNet50" in line and "| 4 |" in line)
    assert row.endswith("| 4 | 90.67 | 4,080 | 78.50 | 93.99 |")


@pytest.mark.parametrize(("setting", "why"), [("0", "turned them off"), ("yes", "not a whole number of MiB")])
def test_a_server_that_takes_none_says_why_and_how_to_change_it(environment, setting, why):
    environment.setenv(own_checkpoint.SETTING, setting)
    app = opened()
    assert not app.exception
    (sentence,) = sentences(app)
    assert why in sentence
    assert "ODCONV_UPLOADS" in sentence
    assert entrance(app) is None
    assert "takes no checkpoints" in bring(session(app), test_explore.Path(__file__), "net.pth", None)


def test_a_server_that_others_reach_takes_none_unless_told_to(monkeypatch):
    option = own_checkpoint.st.get_option
    monkeypatch.setattr(
        own_checkpoint.st, "get_option", lambda name: "0.0.0.0" if name == "server.address" else option(name)
    )
    (sentence,) = sentences(opened())
    assert "can be reached from other machines" in sentence
    monkeypatch.setenv(own_checkpoint.SETTING, "100")
    app = opened()
    assert any("Up to 100 MiB" in caption and "400 MiB" in caption for caption in captions(app))


def test_what_was_brought_is_recognised_offered_and_looked_into(small):
    app = with_network(small)
    assert not app.exception
    found = facts(app)
    assert found["File"] == "small.pth"
    assert found["Network"] == "od_resnet18, width 8"
    assert found["Kernels K"] == "2"
    assert found["Attention heads"] == "all four in all 16 layers"
    assert found["Classes"] == "5: a, b, c, d, e"
    assert found["Pictures"] == "32 px, cut from a shorter side of 32 px"
    assert find(app.selectbox, "model").options[-1] == "Yours: small.pth"
    app.button(key="mine_open").click().run()
    assert works(app)
    assert find(app.selectbox, "model").value == "own"
    assert app.session_state["view"].model == "own"
    assert sentences(app) == []
    assert any("of 5 classes" in one.value for one in app.main.markdown)


def test_nobody_else_reaches_it(small):
    app = go(with_network(small), "explore", model="own")
    assert works(app)
    for guess in ("own", "small.pth", "Yours: small.pth", "../small.pth"):
        other = test_explore.opened(model=guess)
        assert works(other)
        assert sentences(other) == [say("en", "page.bad_link", names="model")]
        assert not any("Yours" in option for option in find(other.selectbox, "model").options)
        assert find(other.selectbox, "model").value != "own"
    beside = test_explore.opened(page="compare", **{"b-model": "own"})
    assert sentences(beside) == [say("en", "page.bad_link", names="b-model")]
    assert find(app.run().selectbox, "model").value == "own"


def test_removed_it_is_gone_from_the_picker_the_view_and_the_memory(small):
    app = with_network(small)
    app = go(app, "explore", model="own")
    app = go(app, "compare", model="own", **{"b-model": "own"})
    assert not app.exception
    network, taken = app.session_state["inbox"].network, BUDGET.taken
    app = go(app, "checkpoint", model="own", **{"b-model": "own"})
    app.button(key="mine_remove").click().run()
    assert not app.exception
    assert app.session_state["view"].model == ""
    assert app.session_state["view"].b.model is None
    assert not any("Yours" in option for option in find(app.selectbox, "model").options)
    assert sum(one.numel() for one in network.checkpoint.model.state_dict().values()) == 0
    assert taken - BUDGET.taken > network.own.megabytes * 2**20


@pytest.mark.parametrize("lesson", [*navigation.LESSONS, "teach"])
def test_every_page_looks_into_it(small, lesson):
    app = go(with_network(small), lesson, model="own", sample="dahlia")
    assert not app.exception
    assert find(app.selectbox, "model").value == "own"
    assert not [sentence for sentence in sentences(app) if "not here" in sentence]


def test_a_class_gets_no_link_to_it(small, monkeypatch):
    links, kept = [], components.class_link
    monkeypatch.setattr(components, "class_link", lambda address, words: links.append(address) or kept(address, words))
    app = go(with_network(small), "teach", model="own", t="3")
    assert "own" not in links[-1]
    assert any("Yours is in no link" in one.value for one in app.main.markdown)


ODD = {
    "one class, 16 px": (
        partial(od_mobilenetv2, 1, width_mult=0.5, num_kernels=1),
        {"classes": ["a"], "image_size": 16},
    ),
    "static, two classes": (partial(mobilenetv2, 2, width_mult=0.5), {"classes": ["a", "b"]}),
    "more than four kernels": (partial(od_resnet18, 3, width=4, num_kernels=9), {"classes": ["a", "b", "c"]}),
}


@pytest.mark.parametrize("odd", ODD)
def test_networks_that_nobody_here_has_trained_open(tmp_path, odd):
    make, changes = ODD[odd]
    card = CARD | {"stem": "imagenet"} | changes
    app = with_network(save(make(), tmp_path / "odd.pth"), card=card)
    assert facts(app)["File"] == "odd.pth"
    app = go(app, "explore", model="own")
    assert not app.exception
    assert works(app) == ("static" not in odd)


def test_a_name_is_shown_as_it_is_and_a_refusal_leaves_what_was_there(small, tmp_path):
    app = with_network(small, HOSTILE)
    assert facts(app)["File"] == "example.org)__ _img src=x_ net�htp.pth"
    assert find(app.selectbox, "model").options[-1] == "Yours: example.org)__ _img src=x_ net�htp.pth"
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(small.read_bytes()[:5000])
    assert bring(session(app), damaged, "*net*" + HOSTILE) == ""
    app.run()
    assert not app.exception
    refused = entrance(app)["refused"]
    assert refused == say("en", "checkpoint.damaged", file="example.org)__ _img src=x_ net�htp.pth")
    assert facts(app)["Network"] == "od_resnet18, width 8"
    app = go(app, "explore", model="own")
    assert works(app)


def test_the_page_speaks_chinese(small):
    app = opened(lang="zh")
    assert bring(session(app), small, card=b"[]") == ""
    app.run()
    assert not app.exception
    assert say("zh", "mine.authors") in headings(app)
    assert entrance(app)["refused"] == say("zh", "checkpoint.card_object", file="small.json")
    assert "扩展名" in bring(session(app), small, "net.zip")
