"""Edits of a picture, pixel by pixel, and what is said of what follows them."""

import numpy as np
import pytest
from PIL import Image

from odconv import HEADS, explain
from odconv.drawings import brush_data, describe_edit, edit_data
from odconv.edits import MOST_DABS, Dab, PictureEdit, apply_edit, mean_colour
from odconv.ui import editing


def picture(width=60, height=40, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def test_without_an_edit_the_picture_is_the_same_object():
    original = picture()
    assert apply_edit(original, PictureEdit()) is original


def test_the_brush_paints_a_disc_with_the_mean_colour_and_leaves_the_rest_and_the_original():
    original = picture()
    before = np.array(original)
    edited = np.array(apply_edit(original, PictureEdit(brush=(Dab(500, 250, 200),))))
    colour = np.rint(before.reshape(-1, 3).mean(0)).astype(int)
    assert tuple(colour) == mean_colour(original)
    row, column = np.mgrid[:40, :60]
    far = np.hypot(column - 30, row - 10)  # the radius is 8 px: 200 thousandths of the shorter side
    assert (edited[far < 7] == colour).all()
    np.testing.assert_array_equal(edited[far > 9.5], before[far > 9.5])
    np.testing.assert_array_equal(np.array(original), before)


def test_a_quarter_turn_of_a_square_moves_every_pixel_counter_clockwise_and_a_half_turn_twice():
    original = picture(40, 40)
    for turn, times in ((90, 1), (180, 2), (-90, 3)):
        edited = np.array(apply_edit(original, PictureEdit(turn=turn)), int)
        np.testing.assert_allclose(edited, np.rot90(np.array(original, int), times), atol=1)


def test_a_turn_keeps_the_size_and_fills_corners_with_the_mean_colour():
    original = picture(60, 40)
    edited = apply_edit(original, PictureEdit(turn=45))
    assert edited.size == original.size
    assert edited.getpixel((0, 0)) == mean_colour(original)


def test_grey_is_the_luminance_and_a_blur_keeps_the_mean():
    original = picture()
    grey = np.array(apply_edit(original, PictureEdit(grey=True)), float)
    wanted = np.array(original, float) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey, np.repeat(wanted[..., None], 3, 2), atol=1)
    blurred = np.array(apply_edit(original, PictureEdit(blur=10.0)), float)
    assert blurred.std() < 0.3 * np.array(original, float).std()
    np.testing.assert_allclose(blurred.mean(), np.array(original, float).mean(), atol=3)


def test_edits_are_made_in_the_order_brush_turn_blur_grey():
    original, edit = picture(40, 40), PictureEdit((Dab(250, 250, 200),), 90.0, 4.0, True)
    steps = apply_edit(original, PictureEdit(brush=edit.brush)).rotate(90, Image.Resampling.BILINEAR)
    steps = apply_edit(apply_edit(steps, PictureEdit(blur=4.0)), PictureEdit(grey=True))
    np.testing.assert_array_equal(np.array(apply_edit(original, edit)), np.array(steps))


# --- what is taken of a browser's messages ----------------------------------------------------------------------------


def message(released=True, **changes):
    return {"changes": changes, "released": released}


def test_dials_and_brush_send_what_is_applied():
    assert editing.parse_turn(message(turn=-45, released=False)).changes == {"turn": -45.0}
    assert editing.parse_turn(message(turn=0, blur=2.5)).changes == {"turn": 0.0, "blur": 2.5}
    assert editing.parse_brush(message(brush=[[0, 1000, 80]])).changes == {"brush": (Dab(0, 1000, 80),)}
    assert editing.parse_brush(message(brush=[])).changes == {"brush": ()}


@pytest.mark.parametrize(
    "sent",
    [
        None,
        message(),
        message(brush="x"),
        message(brush=[[0, 0]]),
        message(brush=[[0, 0, 1001]]),
        message(brush=[[0, 0.5, 80]]),
        message(brush=[[True, 0, 80]]),
        message(brush=[[0, 0, 80]] * (MOST_DABS + 1)),
        message(turn=0),
    ],
)
def test_what_no_brush_sends_is_refused(sent):
    with pytest.raises(ValueError, match="not"):
        editing.parse_brush(sent)


@pytest.mark.parametrize("sent", [message(turn=7), message(blur=11), message(turn="90"), message(grey=True)])
def test_what_no_dial_sends_is_refused(sent):
    with pytest.raises(ValueError, match="not"):
        editing.parse_turn(sent)


# --- what follows -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(small_model, images):
    return tuple(explain(small_model, images[i : i + 1]) for i in (0, 1))


CLASSES = [f"class {i}, other name" for i in range(5)]


def test_the_sentence_has_the_mean_change_of_each_head_and_the_largest(pair):
    plain, edited = pair
    sizes = {
        (name, head): np.abs(
            getattr(edited.layers[name].attention, head).astype(float) - getattr(layer.attention, head)
        ).mean()
        for name, layer in plain.layers.items()
        for head in HEADS
    }
    sentence = describe_edit("en", plain, edited, CLASSES)
    for head in HEADS:
        mean = np.mean([size for (_, one), size in sizes.items() if one == head])
        assert f"{head} {mean:.3f}" in sentence
    layer, head = max(sizes, key=sizes.get)
    assert f"Most: {head} attention in {layer}, {sizes[layer, head]:.3f}." in sentence
    best = int(plain.logits.argmax())
    assert (
        f"class {best} goes from {plain.probabilities[0, best]:.2f} to {edited.probabilities[0, best]:.2f}" in sentence
    )


def test_the_map_has_the_change_of_each_head_in_each_layer(pair):
    plain, edited = pair
    places = {name: ("stage", name) for name in plain.layers}
    data = edit_data("en", plain, edited, CLASSES, "layer2.0.conv1", places)
    assert data["selected"] == "layer2.0.conv1"
    assert "followed the edit" in data["title"]
    for column in data["layers"]:
        one, other = (record.layers[column["name"]].attention for record in pair)
        for head, size in zip(HEADS, column["sizes"], strict=True):
            assert size == pytest.approx(np.abs(getattr(other, head) - getattr(one, head)).mean(), abs=5.1e-5)


def test_the_brush_knows_its_colour_and_what_is_painted():
    data = brush_data("en", "data:,", "a cat", (300, 200), (1, 2, 3), (Dab(1, 2, 3),))
    assert (data["colour"], data["dabs"], data["aspect"]) == ("rgb(1 2 3)", [[1, 2, 3]], 1.5)
