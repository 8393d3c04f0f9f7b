"""The Compare page without a browser: what is on side B, how the sides change places, and every kind of network beside another."""

from functools import partial

import pytest
import streamlit as st

from odconv.attention import Settings
from odconv.ui import components, devices, engine, sides
from odconv.ui.link import MOST_KERNELS, OWN, SAME, Other, View, other_settings
from odconv.words import say
from tests.browser.explore import photo
from tests.pages import test_explore
from tests.pages.test_explore import STATIC, _fresh_caches, captions, sentences  # noqa: F401
from tests.pages.widgets import find

opened = partial(test_explore.opened, page="compare")
ONE_KERNEL = "od_resnet18_w32_1x_tiny_imagenet.safetensors"


def whole(app):
    return not app.exception and [heading.value for heading in app.main.subheader][:2] == ["A", "B"]


def sentence(app):
    found = next(one.value for one in app.main.markdown if one.value.startswith("**") and len(one.value) > 20)
    return found.replace("\\", "")


def view(app):
    return app.session_state["view"]


@pytest.fixture
def drawn():
    """Widget key -> the data that its last drawing got."""
    data = {}
    # No ``monkeypatch``: nothing stands in for a network, so that those which are open can stay open.
    with pytest.MonkeyPatch.context() as patch:
        for name in ("side", "differences", "sides"):
            kept = getattr(components, name)

            def draw(one, *more, key=name, kept=kept, **others):
                data[key] = one
                return kept(one, *more, key=key, **others)

            patch.setattr(components, name, draw)
        yield data


def titles(drawn):
    return [drawn[key]["picture"]["title"] for key in ("side_a", "side_b")]


def test_from_explore_side_a_is_what_was_seen_and_side_b_the_next_picture(drawn):
    app = opened(sample="dahlia", t="3")
    assert whole(app)
    assert titles(drawn) == [say("en", "sample.dahlia"), say("en", "sample.astronaut")]
    assert all("temperature 3 on all heads" in drawn[key]["caption"] for key in ("side_a", "side_b"))
    assert sentence(app).startswith("**Most different: ")
    assert sentences(app) == []
    assert dict(app.query_params) == {"sample": "dahlia", "t": "3"}


def test_of_several_pictures_the_next_one_is_on_side_b(drawn):
    assert whole(opened(sample="dahlia,espresso,rocket", shown="3"))
    assert titles(drawn) == [say("en", "sample.rocket"), say("en", "sample.dahlia")]


def test_a_link_restores_side_b(drawn):
    app = opened(
        **{"b-picture": "grating", "b-knob": "30", "b-model": ONE_KERNEL, "b-t": "2", "b-layer": "layer3.0.conv1"}
    )
    assert whole(app)
    assert drawn["side_b"]["picture"]["title"] == "Grating, 30°"
    assert drawn["side_b"]["caption"] == "ODConv, K = 1; temperature 2 on all heads"
    assert drawn["sides"]["titles"][1] == "B: layer3.0.conv1"
    assert app.selectbox(key="b_model").value == ONE_KERNEL


@pytest.mark.parametrize("name", engine.weights())
@pytest.mark.parametrize("beside", engine.weights())
def test_every_bundled_network_stands_beside_every_other(name, beside):
    app = opened(**{"model": name, "b-model": beside, "b-picture": SAME})
    assert whole(app)
    assert sentences(app) == []
    if STATIC in (name, beside):
        assert "static" in sentence(app)
    elif name == beside:
        assert sentence(app).startswith("**No attention differs")
    elif engine.PHOTOS in (name, beside):
        assert sentence(app).startswith("**The two networks have no head of the same name and size")
    else:
        assert sentence(app).startswith("**Most different: ")


def test_the_sides_change_places_and_back(drawn):
    asked = {
        "sample": "tabby-cat",
        "t": "3",
        "b-picture": "rocket",
        "b-model": ONE_KERNEL,
        "b-t": "1",
        "b-kernels": "all",
    }
    app = opened(**asked, layer="layer2.0.conv1")
    before = [drawn[key] | {} for key in ("side_a", "side_b")]
    layers, settings = drawn["sides"]["titles"], other_settings(view(app))
    app.button(key="sides_swap").click().run()
    assert whole(app)
    assert titles(drawn) == [say("en", "sample.rocket"), say("en", "sample.tabby_cat")]
    assert [drawn[key]["caption"] for key in ("side_a", "side_b")] == [one["caption"] for one in reversed(before)]
    assert drawn["sides"]["titles"] == layers
    assert view(app).settings == settings == Settings()
    app.button(key="sides_swap").click().run()
    assert [drawn[key]["caption"] for key in ("side_a", "side_b")] == [one["caption"] for one in before]
    assert titles(drawn) == [one["picture"]["title"] for one in before]
    assert app.query_params["b-model"] == ONE_KERNEL


def test_each_side_is_reset_by_itself(drawn):
    app = opened(**{"sample": "tabby-cat", "t": "3", "b-t": "7", "b-kernels": "2"})
    app.button(key="b_reset").click().run()
    assert whole(app)
    assert (view(app).settings, other_settings(view(app))) == (Settings(3.0), Settings())
    app = opened(**{"sample": "tabby-cat", "t": "3"})
    app.button(key="a_reset").click().run()
    assert (view(app).settings, other_settings(view(app))) == (Settings(), Settings(3.0))


def test_what_is_copied_across_is_the_same_on_both_sides(drawn):
    app = opened(**{"sample": "tabby-cat", "b-picture": "grating", "b-knob": "30", "b-t": "7", "b-kernels": "2"})
    app.button(key="sides_copy_to_a").click().run()
    assert titles(drawn) == ["Grating, 30°"] * 2
    assert view(app).settings == Settings(7.0, kernels=2)
    assert dict(app.query_params) == {
        "source": "stimuli",
        "knob": "30",
        "t": "7",
        "kernels": "2",
        "b-picture": SAME,
        "sample": "tabby-cat",
    }
    assert sentence(app).startswith("**No attention differs")
    app = opened(**{"sample": "tabby-cat", "t": "5", "b-t": "7", "b-picture": "rocket"})
    app.button(key="sides_copy_to_b").click().run()
    assert view(app).b == Other(picture=SAME)
    assert sentence(app).startswith("**No attention differs")


def test_an_offer_changes_one_thing_on_side_b_and_opens_where_that_makes_most_difference(drawn):
    app = opened(**{"sample": "tabby-cat", "b-picture": "rocket", "b-kernels": "2", "layer": "layer4.1.conv2"})
    offers = [button for button in app.button if button.key.startswith("sides_offer_")]
    assert [offer.label.replace("\\", "") for offer in offers] == [
        "the picture",
        "ODConv, K = 1",
        "Static convolutions",
        "temperature 30",
        "strongest kernel alone",
    ]
    offers[3].click().run()
    assert view(app).b == Other(picture=SAME, temperature=30.0)
    assert drawn["sides"]["titles"][0].removeprefix("A: ") in sentence(app)
    app.button(key=offers[1].key).click().run()
    assert view(app).b == Other(picture=SAME, model=ONE_KERNEL)


def test_a_dial_turns_its_own_side_alone():
    st.session_state["view"], st.session_state["opens_at"] = View(settings=Settings(3.0)), "layer1.0.conv1"
    shown = engine.open_engine(engine.LESSONS, "cpu")
    message = {"changes": {"temperature": 10.0, "kernels": 4}, "released": True}
    assert sides._turn_a(shown)(message).changes == {
        "temperature": 10.0,
        "kernels": None,
        "layer": "layer1.0.conv1",
        "b": Other(temperature=3.0, kernels=MOST_KERNELS),
    }
    assert sides._turn_b(shown)(message).changes == {
        "layer": "layer1.0.conv1",
        "b": Other(temperature=10.0, kernels=MOST_KERNELS),
    }


def test_rare_settings_act_on_their_own_side():
    app = opened("more", sample="tabby-cat", t="3")
    app.button_group(key="sides_b_ablate").set_value(["channel"]).run()
    assert view(app).b == Other(ablate=("channel",))
    app.button_group(key="sides_a_ablate").set_value(["filter"]).run()
    assert view(app).settings.ablate == ("filter",)
    assert other_settings(view(app)).ablate == ("channel",)
    assert app.query_params["b-ablate"] == "channel"


def test_picture_network_and_layer_of_side_b_are_chosen(drawn):
    app = opened(sample="tabby-cat")
    app.selectbox(key="b_picture").set_value("stimuli:checkerboard").run()
    app.selectbox(key="b_model").set_value(ONE_KERNEL).run()
    app.selectbox(key="b_layer").set_value("layer1.0.conv2").run()
    assert view(app).b == Other(picture="checkerboard", model=ONE_KERNEL, layer="layer1.0.conv2")
    app.selectbox(key="b_picture").set_value(SAME).run()
    assert titles(drawn) == [say("en", "sample.tabby_cat")] * 2
    find(app.selectbox, "a_layer").set_value("layer1.1.conv2").run()
    assert drawn["sides"]["titles"][:2] == ["A: layer1.1.conv2", "B: layer1.0.conv2"]


def test_an_own_picture_stands_on_side_b_and_is_in_no_link(drawn):
    app = opened(source="upload")
    app.file_uploader[0].upload("mine.jpg", photo(), "image/jpeg").run()
    assert titles(drawn)[0] == "mine.jpg"
    app.button(key="sides_swap").click().run()
    assert titles(drawn)[1] == "mine.jpg"
    assert app.query_params["b-picture"] == OWN
    assert not any("mine" in value for value in app.query_params.values())


def test_a_link_to_an_own_picture_says_that_it_is_not_there(drawn):
    app = opened(**{"sample": "dahlia", "b-picture": OWN})
    assert whole(app)
    assert titles(drawn)[1] == say("en", "sample.astronaut")
    assert sentences(app) == [say("en", "sides.no_picture")]


@pytest.mark.parametrize("name", ["layer", "b-layer"])
def test_a_layer_that_is_not_there_is_named(name):
    app = opened(**{name: "conv9"})
    assert whole(app)
    assert any("no layer conv9" in one for one in sentences(app))


# Of the second no layer is in common, of the third all layers are, in other sizes.
@pytest.mark.parametrize("network", ["1x1", "depth-wise", "two kernels", "static"])
def test_a_network_of_another_kind_and_other_classes_stands_on_either_side(folder_of, environment, drawn, network):
    environment.setenv("ODCONV_WEIGHTS", str(folder_of(network)))
    for query in ({"b-model": "own.safetensors"}, {"model": "own.safetensors", "b-model": engine.LESSONS}):
        app = opened(**query)
        assert whole(app)
        assert drawn["side_a"]["prediction"]["note"] == say("en", "sides.other_classes", side="B")


def test_weights_that_cannot_be_used_are_one_sentence(tmp_path, environment):
    environment.setenv("ODCONV_WEIGHTS", str(tmp_path))
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    app = opened(**{"b-model": "bad.safetensors"})
    assert not app.exception
    assert len(sentences(app, "error")) == 1


def test_while_others_keep_the_network_the_page_says_so_and_asks_again(monkeypatch):
    monkeypatch.setattr(devices, "PATIENCE", 0.0)
    with devices.hold("cpu", 0.0):
        app = opened()
        assert whole(app)
        assert len(sentences(app, "warning")) == 1
    monkeypatch.undo()
    app.button(key="again-sides").click().run()
    assert whole(app)
    assert sentences(app, "warning") == []


def test_the_page_speaks_chinese():
    app = opened(lang="zh", **{"b-model": ONE_KERNEL})
    assert whole(app)
    assert sentence(app).startswith("**差异最大：")


@pytest.mark.parametrize("sent", [None, 3, ["a"], "a\nb", "x" * 101])
def test_a_layer_that_a_browser_makes_up_changes_nothing(monkeypatch, sent):
    monkeypatch.setattr(sides.view, "change", lambda **some: pytest.fail("changed"))
    sides._choose_both(sent)


def test_every_network_here_says_what_it_sees_when_the_fold_is_opened(drawn):
    app = opened(sample="espresso")
    assert "network_0" not in drawn
    app.session_state["networks"] = True
    app.run()
    assert not app.exception
    assert [drawn[f"network_{i}"]["picture"]["title"] for i in range(4)] == [
        "ODConv, K = 4, 200 classes",
        "ODConv, K = 1",
        "Static convolutions",
        "ODConv, K = 4, 1,000 classes",
    ]
    assert all("of 10,000 validation pictures" in drawn[f"network_{i}"]["caption"] for i in range(3))
    assert "**All say espresso\\.**" in [one.value for one in app.main.markdown]


def test_a_fixed_link_says_nothing_of_choices_that_are_not_there():
    for query, key in (({}, "sides.intro"), ({"controls": "hidden"}, "sides.intro_fixed")):
        app = opened(**query)
        assert not app.exception
        assert any(block.value.startswith(say("en", key)[:30]) for block in app.main.markdown)
