"""The Explore page without a browser: what it says, and that nothing in a link or folder breaks it."""

import json
import re
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from odconv import images
from odconv.atlas import load_atlas, save_atlas
from odconv.attention import HEADS, Settings
from odconv.backbones import resnet18
from odconv.checkpoint import load_checkpoint, save_checkpoint
from odconv.explain import explain
from odconv.stimuli import STIMULI, draw
from odconv.ui import asking, devices, engine, inference, keeping, layer, sidebar, sources, takeaway, view
from odconv.ui.invitations import INVITATIONS
from odconv.ui.link import View, change
from odconv.ui.pictures import FOLDER
from odconv.words import say
from tests.browser.explore import photo

STATIC = "resnet18_w32_tiny_imagenet.safetensors"
APP = str(Path(__file__).parents[2] / "app.py")


@pytest.fixture(autouse=True)
def _fresh_caches(request):
    """What a test has put in the place of files or functions leaves no answers behind, and finds none."""
    stands_in = "monkeypatch" in request.fixturenames
    clears = [partial(keeping.forget, keeping.HOUR), st.cache_resource.clear] if stands_in else []
    threads = torch.get_num_threads()
    for clear in clears:
        clear()
    yield
    for clear in clears:
        clear()
    torch.set_num_threads(threads)


def opened(*folds, page="explore", **query):
    """A page at a link, in a new session; ``folds``: keys of those that are open."""
    app = AppTest.from_file(APP, default_timeout=60)
    if page != "explore":
        app.switch_page(f"pages/{page}.py")
    for fold in folds:
        app.session_state[fold] = True
    app.query_params.update(query)
    return app.run()


def sentences(app, *kinds):
    shown = (element.value for kind in kinds or ("info", "warning", "error") for element in app.get(kind))
    return [re.sub(r"\\(.)|\u2060", r"\1", sentence) for sentence in shown]  # what Markdown makes of them


def captions(app):
    return [re.sub(r"\\(.)", r"\1", caption.value) for caption in app.caption]


def in_force(app):
    (found,) = [one.proto for one in app.get("bidi_component") if one.proto.component_name == "odconv_in_force"]
    return json.loads(found.json)["settings"]


def tells_classes(app):
    return any("Which classes use which kernel" in str(block.proto) for block in app.get("bidi_component"))


def headings(app):
    return [re.sub(r"\\(.)", r"\1", heading.value) for heading in app.subheader]


def works(app):
    return not app.exception and "The network at a glance" in headings(app)


def test_the_page_opens_on_the_first_layer_and_says_nothing_alarming():
    app = opened()
    assert works(app)
    assert "One layer: layer1.0.conv1" in headings(app)
    assert sentences(app) == []
    assert dict(app.query_params) == {}


def test_explore_opens_with_a_thousand_classes_and_lessons_with_the_network_whose_layers_have_all_four_heads(
    environment,
):
    environment.delenv("ODCONV_MODEL")
    app = opened(sample="espresso")
    assert works(app)
    assert app.selectbox(key="model").value == engine.PHOTOS
    assert "One layer: stage5.1.depthwise" in headings(app)
    assert "The 1,000 classes it knows" in [fold.label for fold in app.expander]
    assert not tells_classes(app)  # of each class the atlas has one picture
    assert tells_classes(opened(sample="espresso", model=engine.LESSONS))
    assert opened(page="forge").selectbox(key="model").value == engine.LESSONS


def test_a_server_can_say_what_all_pages_open_with(environment):
    environment.setenv("ODCONV_MODEL", STATIC)
    for page in ("explore", "forge"):
        assert opened(page=page).selectbox(key="model").value == STATIC
    environment.setenv("ODCONV_MODEL", "gone.safetensors")
    assert opened(page="forge").selectbox(key="model").value == engine.LESSONS


@pytest.mark.parametrize("name", engine.weights())
def test_every_bundled_network_opens_on_several_pictures(name):
    app = opened(model=name, sample="dahlia,espresso")
    assert not app.exception
    assert app.selectbox(key="model").value == name
    dynamic = name.startswith("od_")
    assert works(app) == dynamic
    assert (say("en", "static.title") in headings(app)) != dynamic
    assert any("CSV and NPZ" in caption.value for caption in app.caption)
    assert [button.key for button in app.get("download_button")] == (
        ["csv", "npz", "html"] if dynamic else ["csv", "npz"]
    )


@pytest.mark.parametrize(
    "query",
    [
        {"t": "abc"},
        {"t": "1e9"},
        {"kernels": "99"},
        {"layer": "<script>"},
        {"layer": "x" * 5000},
        {"sample": "nope"},
        {"model": "../../etc/passwd"},
        {"source": "zzz"},
        {"source": "stimuli", "knob": "1e9"},
        {"stimulus": "<img src=x>"},
        {"ablate": "everything"},
        {"lang": "tlh"},
        {"layer": "![x](https://example.org/x.png)"},
    ],
    ids=lambda query: str(query)[:40],
)
def test_a_bad_link_is_harmless_and_one_sentence_says_so(query):
    app = opened(**query)
    assert works(app)
    first = sentences(app)
    assert len(first) == 1
    assert "default" in first[0] or "layer1.0.conv1 is shown" in first[0]
    assert sentences(app.run()) == ([] if "default" in first[0] else first)


@pytest.mark.parametrize(
    "hostile", ["![x](https://example.org/x.png)", "<img src=x>", "[a](b)", ":red[x]", "$x$", "`x`"]
)
def test_what_a_link_names_is_shown_as_it_is_and_never_read_as_markdown(hostile):
    app = opened(layer=hostile)
    assert works(app)
    assert hostile not in app.info[0].value
    assert sentences(app)[0] == f"This network has no layer {hostile}; layer1.0.conv1 is shown."


def test_a_link_restores_the_settings():
    app = opened(t="3", kernels="2", ablate="channel", layer="layer2.0.conv1", sample="rocket")
    assert works(app)
    assert "One layer: layer2.0.conv1" in headings(app)
    assert app.session_state["view"].settings.temperature == 3
    assert app.session_state["view"].settings.kernels == 2
    assert app.session_state["view"].settings.ablate == ("channel",)


@pytest.mark.parametrize("same", [{"kernels": "64"}, {"kernels": "4"}, {"keep": "first"}, {"compensate": "1"}])
def test_settings_that_change_nothing_draw_no_ghosts_and_leave_nothing_to_reset(same):
    app = opened(**same)
    assert works(app)
    assert in_force(app) == "In force: as trained."
    assert in_force(opened(t="3", **same)) != "In force: as trained."


def test_several_samples_are_compared():
    app = opened(sample="rocket,espresso,raccoon", layer="layer1.0.conv1")
    assert works(app)
    assert "3 pictures in layer1.0.conv1" in headings(app)
    assert len(app.get("plotly_chart")) == 1


def test_one_sample_is_not_compared():
    app = opened(sample="rocket")
    assert not any("pictures in" in heading for heading in headings(app))
    assert not app.get("plotly_chart")


def test_a_choice_runs_the_parts_that_follow_it_and_leaves_the_rest_of_the_page_as_it_is(monkeypatch):
    ran = []

    def note(name, module, show):
        shown = getattr(module, show)
        monkeypatch.setattr(module, show, lambda *asked: ran.append(name) or shown(*asked))

    note("sidebar", sidebar, "describe")
    note("glance", layer, "show_glance")
    note("files", takeaway, "show")
    app = opened(sample="rocket,espresso")
    assert sorted(set(ran)) == ["files", "glance", "sidebar"]
    ran.clear()
    app.button_group(key="difference").set_value(True).run()
    assert works(app)
    assert ran == ["glance", "files"]
    assert dict(app.query_params)["show"] == "difference"


@pytest.mark.parametrize("name", list(STIMULI))
def test_each_stimulus_is_drawn(name):
    for query in ({}, {"knob": f"{STIMULI[name].high:g}"}):
        app = opened(source="stimuli", stimulus=name, **query)
        assert works(app)
        assert sentences(app) == []
        assert any("Each dot is a picture of its own" in caption for caption in captions(app))
        assert dict(app.query_params).get("knob") == query.get("knob")


def test_a_blur_takes_the_photo_that_was_looked_at_last_be_it_the_visitors_own(monkeypatch):
    blurred = []
    monkeypatch.setattr(sources, "draw", lambda *asked: blurred.append(asked[2]) or draw(*asked))
    app = opened(source="upload", stimulus="blur")
    app.file_uploader[0].upload("own.jpg", photo(), "image/jpeg").run()
    own = next(iter(app.session_state["pictures-upload"].values())).image
    app.button_group(key="source").set_value("stimuli").run()
    assert works(app)
    assert own in blurred
    blurred.clear()
    app.button_group(key="source").set_value("samples").run()
    app.button_group(key="source").set_value("stimuli").run()
    assert works(app)
    assert blurred
    assert own not in blurred


@pytest.mark.parametrize("source", ["upload", "camera"])
def test_a_source_without_a_picture_asks_for_one(source):
    app = opened(source=source)
    assert not app.exception
    assert len(sentences(app)) == 1
    assert "it is shown here" in sentences(app)[0]


def test_a_static_network_explains_itself_and_opens_its_twin_with_the_same_pictures():
    app = opened(model=STATIC, sample="rocket,espresso", shown="2", t="3")
    assert not app.exception
    assert not any("glance" in heading for heading in headings(app))
    told = " ".join(text.value for text in app.markdown)
    for key in ("static.kernel", "static.nothing"):
        assert say("en", key) in told
    assert "**ODConv, K \\= 4, 200 classes**" in told
    app.button(key="open-twin").click().run()
    assert works(app)
    assert app.session_state["view"].model == engine.LESSONS
    assert app.session_state["view"].samples == ("rocket", "espresso")
    assert app.session_state["view"].settings == Settings(temperature=3)


def test_a_static_network_with_no_twin_here_is_compared_with_the_first_dynamic_one(tmp_path, environment):
    environment.setenv("ODCONV_WEIGHTS", str(tmp_path))
    card = {"name": "static", "classes": list("abcdefghij"), "image_size": 64, "resize": 64, "stem": "small"}
    card |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    save_checkpoint(resnet18(10, width=8, stem="small"), card, tmp_path / "static.safetensors")
    app = opened(model="static.safetensors")
    assert not app.exception
    app.button(key="open-twin").click().run()
    assert works(app)
    assert app.session_state["view"].model == engine.LESSONS


# --- what models are called --------------------------------------------------------------------------------------------


def test_models_are_called_by_what_they_are_and_the_file_is_in_the_details():
    app = opened()
    assert app.selectbox(key="model").options == [
        "ODConv, K = 4, 200 classes",
        "ODConv, K = 1",
        "Static convolutions",
        "ODConv, K = 4, 1,000 classes",
    ]
    assert f"File: {engine.LESSONS}" in [text.value for text in app.text]
    assert "静态卷积" in opened(lang="zh").selectbox(key="model").options


def test_two_networks_of_a_kind_are_told_apart_by_their_files_and_what_is_unknown_by_its_file_alone(
    tmp_path, environment
):
    environment.setenv("ODCONV_WEIGHTS", str(tmp_path))
    shutil.copy(engine.BUNDLED / STATIC, tmp_path / "another.safetensors")
    (tmp_path / "authors.pth").write_bytes(b"\x80\x02")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 500)
    app = opened()
    assert works(app)
    assert set(app.selectbox(key="model").options) == {
        "ODConv, K = 4, 200 classes",
        "ODConv, K = 4, 1,000 classes",
        "ODConv, K = 1",
        "Static convolutions (another.safetensors)",
        f"Static convolutions ({STATIC})",
        "authors.pth",
        "broken.safetensors",
    }


def test_no_weights_are_read_to_name_a_model(monkeypatch):
    monkeypatch.setattr("safetensors.torch.load_file", lambda path: pytest.fail("weights were read"))
    monkeypatch.setattr(engine, "load_checkpoint", lambda path: pytest.fail("weights were read"))
    found = engine.architectures()
    assert {name: network.dynamic for name, network in found.items()} == {
        name: name.startswith("od_") for name in engine.weights()
    }


# --- presentation and things to try ------------------------------------------------------------------------------------


def test_presentation_is_in_the_link_and_can_be_left():
    app = opened()
    app.button(key="present").click().run()
    assert works(app)
    assert app.query_params["present"] in ("1", ["1"])
    assert app.button(key="present").label == say("en", "page.present_end")
    app.button(key="present").click().run()
    assert "present" not in app.query_params


@pytest.mark.parametrize("name", INVITATIONS)
def test_an_invitation_sets_everything_that_it_promises(name):
    changed = {"t": "5", "ablate": "kernel", "shown": "2", "filter": "3", "compared": "stimuli"}
    app = opened(model="od_resnet18_w32_1x_tiny_imagenet.safetensors", **changed)
    app.button(key=f"invite-{name}").click().run()
    assert works(app)
    wanted = change(View(), model=engine.LESSONS, **INVITATIONS[name])
    assert app.session_state["view"] == replace(wanted, samples=app.session_state["view"].samples)
    assert wanted.samples in ((), app.session_state["view"].samples)


@pytest.mark.parametrize(
    ("measured", "right"),
    [
        ({"n": 10000, "top1": 51.26, "top5": 76.3}, True),
        ({"top1": 51.26, "top5": 76.3}, False),
        ({"n": 10000, "top1": "<b>99</b>", "top5": 76.3}, False),
        ({"n": 1e300, "top1": 51.26, "top5": 76.3}, False),
        ({"n": 10**13, "top1": 51.26, "top5": 76.3}, False),
        ({"n": 10000, "top1": 1e11, "top5": float("nan")}, False),
        ({"n": True, "top1": 51.26, "top5": 76.3}, False),
    ],
)
def test_the_page_says_how_often_a_network_is_right_where_its_card_has_the_numbers(
    tmp_path, environment, measured, right
):
    environment.setenv("ODCONV_WEIGHTS", str(tmp_path))
    card = {"classes": list("abcdefghij"), "image_size": 64, "resize": 64, "stem": "small", "measured": measured}
    card |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    save_checkpoint(resnet18(10, width=8, stem="small"), card, tmp_path / "static.safetensors")
    app = opened(model="static.safetensors")
    assert not app.exception
    sentence = "Right in 51.3 % of 10,000 validation pictures, kept out of training; the right class is among its first five in 76.3 %."
    assert [text.value for text in app.text if text.value.startswith("Right in")] == ([sentence] if right else [])


def test_a_broken_checkpoint_gives_one_sentence_and_the_other_models_still_work(tmp_path, environment):
    environment.setenv("ODCONV_WEIGHTS", str(tmp_path))
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 500)
    app = opened(model="broken.safetensors")
    assert not app.exception
    assert len(sentences(app, "error")) == 1
    assert "broken.safetensors" in sentences(app, "error")[0]
    model = app.selectbox(key="model")
    model.set_value(next(name for name in engine.weights() if name != "broken.safetensors")).run()
    assert works(app)
    assert sentences(app) == []


def test_out_of_memory_falls_back_to_the_cpu_and_says_so(monkeypatch):
    explain, to, calls = inference.explain, torch.nn.Module.to, []

    def short_of_memory(model, *arguments, **options):
        calls.append(model)
        if model is calls[0]:  # the one on the GPU, which stays full
            raise torch.OutOfMemoryError("out of memory")
        return explain(model, *arguments, **options)

    monkeypatch.setattr(engine, "load_checkpoint", load_checkpoint)  # the one on the GPU is none that others share
    monkeypatch.setattr(inference, "explain", short_of_memory)
    monkeypatch.setattr(engine, "pick_device", lambda name: "cuda")  # there need not be one
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: self if device == "cuda" else to(self, device))
    app = opened(t="2")
    assert works(app)
    assert len(sentences(app)) == 1
    assert "CPU" in sentences(app, "warning")[0]


def test_a_busy_queue_is_said_in_a_sentence_and_is_not_remembered(monkeypatch):
    monkeypatch.setattr(devices, "PATIENCE", 0.01)
    with devices.hold(engine.pick_device("auto"), time.monotonic() + 1):
        app = opened()
        assert not app.exception
        assert all("try again" in sentence for sentence in sentences(app))
        assert sentences(app)
    assert works(app.run())
    assert sentences(app) == []


def test_ablating_a_head_and_resetting_goes_through_the_link():
    app = opened("more")
    app.button_group(key="ablate").set_value(["kernel"]).run()
    assert works(app)
    assert app.query_params["ablate"] in ("kernel", ["kernel"])
    app.button(key="reset").click().run()
    assert works(app)
    assert "ablate" not in app.query_params


@pytest.mark.parametrize("query", [{"keep": "first"}, {"compensate": "1"}, {"kernels": "64"}, {"tempered": "kernel"}])
def test_settings_that_change_nothing_are_shown_as_the_trained_network(query):
    app = opened(sample="dahlia,espresso", **query)
    assert works(app)
    assert in_force(app) == "In force: as trained."


def test_where_there_is_one_kernel_nothing_can_be_done_to_the_kernel_head():
    single = "od_resnet18_w32_1x_tiny_imagenet.safetensors"
    app = opened("more", model=single)
    assert app.button_group(key="keep").disabled
    assert app.button_group(key="tempered").options == ["Spatial", "Channel", "Filter"]
    assert app.button_group(key="ablate").options == ["Spatial", "Channel", "Filter"]
    app = opened("more", model=single, ablate="kernel,filter", tempered="kernel")
    assert works(app)
    assert app.button_group(key="ablate").value == ["filter"]


@pytest.mark.parametrize("heads", ["channel", "spatial,kernel", "none"])
def test_the_control_shows_the_very_heads_that_temperature_acts_on(heads):
    app = opened("more", t="3", tempered=heads)
    assert works(app)
    assert app.button_group(key="tempered").value == [head for head in heads.split(",") if head != "none"]
    app.button_group(key="tempered").set_value(list(HEADS)).run()
    assert "tempered" not in app.query_params
    app.button_group(key="tempered").set_value([]).run()
    assert works(app)
    assert app.query_params["tempered"] in ("none", ["none"])


def test_the_difference_from_the_typical_picture_can_be_chosen_and_is_in_the_link():
    app = opened(sample="dahlia,espresso")
    assert "show" not in app.query_params
    app.button_group(key="difference").set_value(True).run()
    assert works(app)
    assert app.query_params["show"] in ("difference", ["difference"])
    assert any("less what 2 pictures are expected to have" in text.value for text in app.markdown)
    app.button_group(key="difference").set_value(False).run()
    assert works(app)
    assert "show" not in app.query_params


def test_a_link_to_a_difference_works_under_other_settings():
    assert works(opened(sample="dahlia,espresso", show="difference", t="3", kernels="2"))


def test_without_an_atlas_a_link_to_a_difference_says_so_and_shows_attention(tmp_path, environment):
    environment.setenv("ODCONV_WEIGHTS", str(tmp_path))
    bundled = next(iter(engine.weights().values()))
    for ending in (".safetensors", ".json"):
        shutil.copy(bundled.with_suffix(ending), tmp_path / f"other{ending}")
    app = opened(model="other.safetensors", show="difference")
    assert works(app)
    assert any("There is no usable atlas" in info.value for info in app.info)
    assert not any(group.label == "Attention shown" for group in app.button_group)


def test_an_atlas_of_other_weights_is_logged_and_not_used(tmp_path, environment, caplog):
    environment.setenv("ODCONV_WEIGHTS", str(tmp_path))
    bundled = next(iter(engine.weights().values()))
    for ending in (".safetensors", ".json", ".atlas.npz"):
        shutil.copy(bundled.with_suffix(ending), tmp_path / f"other{ending}")
    checkpoint = load_checkpoint(tmp_path / "other.safetensors")
    state = {name: value * 2 if name == "fc.bias" else value for name, value in checkpoint.model.state_dict().items()}
    checkpoint.model.load_state_dict(state)
    save_checkpoint(checkpoint.model, json.loads((tmp_path / "other.json").read_text()), tmp_path / "other.safetensors")
    app = opened(model="other.safetensors")
    assert works(app)
    assert not any(group.label == "Attention shown" for group in app.button_group)
    assert "other.atlas.npz was made from other weights" in caplog.text


def test_an_atlas_with_other_layers_is_logged_and_not_used(tmp_path, environment, caplog):
    environment.setenv("ODCONV_WEIGHTS", str(tmp_path))
    bundled = next(iter(engine.weights().values()))
    for ending in (".safetensors", ".json"):
        shutil.copy(bundled.with_suffix(ending), tmp_path / f"other{ending}")
    right = load_atlas(bundled.with_suffix(".atlas.npz"))
    renamed = {name.upper(): layer for name, layer in right.layers.items()}
    save_atlas(replace(right, layers=renamed), tmp_path / "other.atlas.npz")
    app = opened(model="other.safetensors")
    assert works(app)
    assert not any(group.label == "Attention shown" for group in app.button_group)
    assert "atlas refused" in caplog.text


# --- the address -------------------------------------------------------------------------------------------------------


def test_an_address_that_the_page_did_not_write_is_read():
    app = opened(t="3", kernels="2")
    app.query_params.clear()
    app.query_params["t"] = "5"
    app.run()
    assert works(app)
    assert app.session_state["view"].settings == Settings(temperature=5)


def test_a_choice_sent_before_the_browser_knew_the_last_address_is_not_taken_for_a_way_back():
    app = opened("more")
    app.button_group(key="ablate").set_value(["kernel"]).run()
    assert app.query_params["ablate"] in ("kernel", ["kernel"])
    app.query_params.clear()  # what a browser says that has not heard of it yet
    app.button_group(key="keep").set_value("first").run()
    assert app.session_state["view"].settings == Settings(ablate=("kernel",), keep="first")


def test_another_model_keeps_the_layer():
    app = opened(layer="layer2.0.conv1")
    app.selectbox(key="model").set_value("od_resnet18_w32_1x_tiny_imagenet.safetensors").run()
    assert "One layer: layer2.0.conv1" in headings(app)


def test_a_link_can_name_a_picture_that_is_not_there():
    assert works(opened(sample="rocket", shown="8"))
    assert works(opened(sample="rocket", compared="samples,upload,stimuli", shown="8"))
    assert works(opened(source="samples", compared="upload,camera"))


@pytest.mark.parametrize("query", [{}, {"t": "3"}, {"sample": "tabby-cat,rocket", "show": "difference"}])
def test_several_pictures_open_at_the_layer_in_which_they_differ_most_as_trained(query):
    query = {"sample": "tabby-cat,raccoon"} | query
    card = load_checkpoint(engine.BUNDLED / engine.LESSONS)
    data = [(FOLDER / f"{name}.jpg").read_bytes() for name in query["sample"].split(",")]
    record = explain(card.model, torch.cat([images.prepare(images.decode(one), card.card) for one in data]))
    by = {
        name: np.mean([head.std(axis=0).mean() for head in layer.attention if head is not None])
        for name, layer in record.layers.items()
    }
    most = max(by, key=by.get)
    app = opened(**query)
    assert {f"One layer: {most}", f"2 pictures in {most}"} <= set(headings(app))
    assert f"Shown is {most}, where the 2 pictures differ most: {by[most]:.2f}" in " ".join(captions(app))
    assert "layer" not in app.query_params
    named = opened(layer="layer2.0.conv1", **query)
    assert "One layer: layer2.0.conv1" in headings(named)
    assert f"The 2 pictures differ most in {most}: {by[most]:.2f}" in " ".join(captions(named))


# --- languages ---------------------------------------------------------------------------------------------------------


def test_the_page_speaks_chinese_by_link_and_by_switch():
    app = opened(lang="zh")
    assert not app.exception
    assert say("zh", "page.glance") in headings(app)
    app.button_group(key="language").set_value("en").run()
    assert works(app)
    assert app.query_params["lang"] in ("en", ["en"])


# --- under load --------------------------------------------------------------------------------------------------------


def test_a_busy_server_leaves_the_page_whole_says_one_sentence_and_is_asked_again_by_a_button(monkeypatch):
    app = opened("more", sample="rocket,espresso")
    monkeypatch.setattr(devices, "PATIENCE", 0.01)
    with devices.hold(engine.pick_device("auto"), time.monotonic() + 1):
        app.button_group(key="ablate").set_value(["kernel"]).run()
        assert works(app)  # with the figures of the settings before
        assert "2 pictures in layer1.0.conv1" in headings(app)
        assert set(sentences(app)) == {f"{say('en', 'busy.network')} {say('en', 'busy.before')}"}
        assert app.button_group(key="ablate").value == ["kernel"]
        app.button(key="again-stage").click().run()
        assert len(sentences(app)) == 2  # of the one picture, and of the comparison
    app.button(key="again-stage").click().run()
    assert works(app)
    assert sentences(app) == []
    assert app.session_state["view"].settings.ablate == ("kernel",)
    assert app.session_state["answers-all"][1].now.settings.ablate == ("kernel",)


@pytest.mark.parametrize("times", [2, 1000])
def test_a_page_that_found_the_network_busy_asks_again_by_itself_but_not_for_ever(monkeypatch, times):
    asked, ask_both = [], inference.ask_both

    def be_busy(*arguments):
        asked.append(arguments)
        if len(asked) <= times:
            raise devices.BusyError("busy.network")
        return ask_both(*arguments)

    app = opened("more", sample="rocket")
    monkeypatch.setattr(inference, "ask_both", be_busy)
    monkeypatch.setattr(asking, "AGAIN", 0)  # a browser has that part of the page run again after some seconds
    app.button_group(key="ablate").set_value(["kernel"]).run()
    assert works(app)
    assert app.button_group(key="ablate").value == ["kernel"]
    if times == 2:
        assert sentences(app) == []
        assert app.session_state["answers-stage"][1].now.settings.ablate == ("kernel",)
    else:
        assert len(asked) == asking.TRIES + 2  # once more for the page's last try, and for its foot
        assert say("en", "busy.by_itself") not in captions(app)
        assert app.button(key="again-stage").label == say("en", "busy.again")


def test_while_others_keep_the_network_a_stimulus_keeps_its_knob_and_the_curve_comes_when_it_is_asked_for_again(
    monkeypatch,
):
    app = opened("more", source="stimuli", stimulus="plain")
    drawn = [caption for caption in captions(app) if "Each dot" in caption]
    assert len(drawn) == 1
    monkeypatch.setattr(devices, "PATIENCE", 0.01)
    with devices.hold(engine.pick_device("auto"), time.monotonic() + 1):
        app.button_group(key="ablate").set_value(["channel"]).run()
        assert works(app)
        assert not any("Each dot" in caption for caption in captions(app))
        assert set(sentences(app)) == {
            say("en", "busy.network"),
            f"{say('en', 'busy.network')} {say('en', 'busy.before')}",
        }
    app.button(key="again-response").click().run()
    assert works(app)
    assert sentences(app) == []
    assert [caption for caption in captions(app) if "Each dot" in caption] == drawn


# --- what a picture really is -------------------------------------------------------------------------------------------


def test_a_picture_of_none_of_the_classes_is_called_so_whatever_the_settings_are():
    said = "This picture is of none of its 200 classes: whatever it names is wrong."
    for settings in ({}, {"t": "30"}):
        assert said in captions(opened(sample="raccoon", **settings))
    assert said in captions(opened(sample="raccoon", model="resnet18_w32_tiny_imagenet.safetensors"))
    assert not any("its 200 classes" in caption for caption in captions(opened(sample="espresso")))


def test_a_stimulus_is_drawn_and_a_blurred_photo_is_still_what_it_was():
    assert any("is drawn and of none of its 200 classes" in caption for caption in captions(opened(source="stimuli")))
    blurred = captions(opened(source="stimuli", stimulus="blur", sample="raccoon"))
    assert "This picture is of none of its 200 classes: whatever it names is wrong." in blurred


# --- a hostile browser -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("picked", [["rocket"], {"id": "rocket"}, None, 3, "nope", "../rocket", "\ud800"])
def test_a_gallery_that_sends_nonsense_changes_nothing(picked):
    def page(picked):
        import streamlit as st

        from odconv.ui import sources, view
        from odconv.ui.link import Offer

        view.start(Offer(["a.pth"], list(sources.samples())))
        sources._pick(picked, view.current())
        st.text(view.current().samples)

    app = AppTest.from_function(page, kwargs={"picked": picked}).run()
    assert not app.exception
    assert app.text[0].value == "()"


@pytest.mark.parametrize("sent", ["<script>", None, 3, ["grating", "<script>"], [{}], {"a": 1}, float("nan")])
def test_a_choice_that_no_widget_offers_is_no_choice(sent):
    assert not view._offered(sent, {"grating": "Grating", "noise": "Noise"})
    assert view._offered("noise", {"grating": "Grating", "noise": "Noise"})
    assert view._offered(["noise", "grating"], {"grating": "Grating", "noise": "Noise"})
