"""Stimuli: each picture is what its knob says, measured on the pixels."""

import colorsys
import math

import numpy as np
import pytest
from PIL import Image

from odconv.images import crop
from odconv.stimuli import STIMULI, blur, checkerboard, clamp_knob, draw, grating, noise, plain, sweep


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 120, 175])
def test_a_grating_changes_in_the_direction_of_its_angle(angle):
    grey = grating(angle)[..., 0].astype(float)
    hann = np.hanning(256)
    padded = 2048
    spectrum = np.abs(np.fft.fft2((grey - grey.mean()) * np.outer(hann, hann), (padded, padded)))
    row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
    frequency = np.fft.fftfreq(padded)
    measured = math.degrees(math.atan2(-frequency[row], frequency[column])) % 180
    assert min(abs(measured - angle), 180 - abs(measured - angle)) < 1
    assert math.hypot(frequency[row], frequency[column]) * 256 == pytest.approx(16, abs=0.2)


def test_a_grating_at_zero_has_upright_stripes():
    picture = grating(0)
    assert np.ptp(picture, axis=0).max() == 0
    assert np.ptp(picture, axis=1).min() > 250


@pytest.mark.parametrize("side", [4, 12, 32, 128])
def test_a_checkerboard_changes_colour_after_every_square(side):
    picture = checkerboard(side)[..., 0]
    for line in (picture[0], picture[:, 0]):
        assert list(np.flatnonzero(np.diff(line.astype(int))) + 1) == list(range(side, 256, side))
    assert picture[0, 0] == 0
    assert set(np.unique(picture)) == {0, 255}


@pytest.mark.parametrize("hue", range(0, 361, 15))
def test_a_plain_picture_has_the_hue_that_colorsys_computes(hue):
    expected = [round(255 * value) for value in colorsys.hsv_to_rgb(hue / 360, 1, 1)]
    picture = plain(hue, size=8)
    assert np.abs(picture.astype(int) - expected).max() <= 1
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1


def test_noise_is_the_same_for_a_seed_and_another_for_the_next():
    assert np.array_equal(noise(3), noise(3))
    assert not np.array_equal(noise(3), noise(4))


def test_noise_is_spread_evenly_and_neighbours_know_nothing_of_each_other():
    picture = noise(0).astype(float)
    counts = np.bincount(noise(0).ravel(), minlength=256)
    assert counts.min() > 0.8 * counts.mean()
    assert counts.max() < 1.2 * counts.mean()
    for one, other in [
        (picture[1:], picture[:-1]),
        (picture[:, 1:], picture[:, :-1]),
        (picture[..., 0], picture[..., 1]),
    ]:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02


def test_blur_spreads_a_point_with_the_radius_as_standard_deviation():
    point = np.zeros((65, 65, 3), np.uint8)
    point[28:37, 28:37] = 255  # 9 px wide: variance (9**2 - 1) / 12 of its own
    before = point[..., 0].astype(float).sum()
    after = np.asarray(blur(Image.fromarray(point), 4))[..., 0].astype(float)
    offset = np.arange(65) - 32
    variance = (after.sum(axis=0) * offset**2).sum() / after.sum() - (9**2 - 1) / 12
    assert math.sqrt(variance) == pytest.approx(4, rel=0.1)
    assert after.sum() == pytest.approx(before, rel=0.05)


def test_no_blur_leaves_the_photo_as_it_is():
    photo = Image.fromarray(noise(0, size=32))
    assert draw("blur", 0, photo).tobytes() == photo.tobytes()


def test_blur_means_the_same_for_a_photo_of_twice_the_size():
    small = Image.fromarray(grating(20, size=128))
    large = small.resize((256, 256), Image.Resampling.BICUBIC)
    shrunk = np.asarray(draw("blur", 3, large).resize((128, 128), Image.Resampling.BOX), float)
    assert np.abs(shrunk - np.asarray(draw("blur", 3, small), float))[8:-8, 8:-8].max() < 8


@pytest.mark.parametrize("name", STIMULI)
def test_every_knob_can_stand_anywhere_in_its_range(name):
    stimulus = STIMULI[name]
    photo = Image.new("RGB", (40, 30))
    for value in (stimulus.low, stimulus.default, stimulus.low + stimulus.step, stimulus.high):
        picture = draw(name, value, photo)
        assert picture.mode == "RGB"
        assert picture.size == ((40, 30) if stimulus.needs_photo else (256, 256))
    assert draw(name, stimulus.default, photo, size=64).size == ((40, 30) if stimulus.needs_photo else (64, 64))


@pytest.mark.parametrize("name", STIMULI)
@pytest.mark.parametrize("value", [-1, 1000, math.nan, math.inf, -math.inf])
def test_a_value_out_of_range_is_refused_with_the_range(name, value):
    stimulus = STIMULI[name]
    allowed = f"numbers from {stimulus.low:g} to {stimulus.high:g} are allowed"
    with pytest.raises(ValueError, match=f"is {value}; .*{allowed}"):
        draw(name, value, Image.new("RGB", (4, 4)))


def test_half_a_pixel_is_refused_where_only_whole_numbers_make_sense():
    with pytest.raises(ValueError, match=r"is 8\.5; whole numbers from 4 to 128"):
        draw("checkerboard", 8.5)
    assert draw("checkerboard", 8.0).tobytes() == checkerboard(8).tobytes()


@pytest.mark.parametrize("name", [name for name, stimulus in STIMULI.items() if not stimulus.needs_photo])
@pytest.mark.parametrize(("size", "resize"), [(224, 256), (224, 255), (64, 64)])
def test_a_stimulus_of_the_size_before_the_crop_reaches_the_network_pixel_for_pixel(name, size, resize):
    drawn = draw(name, STIMULI[name].default, size=resize)
    start = (resize - size) // 2
    centre = np.asarray(drawn)[start : start + size, start : start + size]
    assert np.array_equal(np.asarray(crop(drawn, size, resize)), centre)


@pytest.mark.parametrize("name", STIMULI)
@pytest.mark.parametrize("value", [-(10**400), -5, 0, 3, 8.4, 8.6, 31, 127.7, 1e9, 10**400])
def test_a_clamped_knob_stands_at_the_nearest_value_that_can_be_drawn(name, value):
    stimulus = STIMULI[name]
    clamped = clamp_knob(name, value)
    draw(name, clamped, Image.new("RGB", (8, 8)), size=8)
    step = 1 if stimulus.whole else 0.05
    allowed = np.arange(stimulus.low, stimulus.high + step / 2, step)
    assert abs(clamped - min(max(value, -1e6), 1e6)) <= np.abs(allowed - min(max(value, -1e6), 1e6)).min() + 1e-9


@pytest.mark.parametrize("name", STIMULI)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "7", True, [1], 1j, b"7"])
def test_a_knob_at_nothing_sensible_goes_to_its_default(name, value):
    assert clamp_knob(name, value) == STIMULI[name].default


def test_an_unknown_stimulus_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'spiral'; grating, checkerboard, plain, noise, blur are allowed"):
        draw("spiral", 1)


def test_blur_without_a_photo_is_refused():
    with pytest.raises(ValueError, match="blur needs a photo"):
        draw("blur", 1)


@pytest.mark.parametrize("name", STIMULI)
def test_a_knob_stops_from_end_to_end_in_equal_steps_and_a_sweep_takes_some_of_the_stops(name):
    stimulus = STIMULI[name]
    assert (stimulus.stops[0], stimulus.stops[-1]) == (stimulus.low, stimulus.high)
    assert set(np.diff(stimulus.stops)) == {stimulus.step}
    assert all(clamp_knob(name, stop) == stop for stop in stimulus.stops)
    for most in (2, 9, 25):
        values = sweep(name, most)
        assert 2 <= len(values) <= most
        assert set(values) <= set(stimulus.stops)
        assert len(set(np.diff(values))) == 1
