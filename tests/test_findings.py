"""What a network answers to each task, held against numpy and against passes of its own, and on the shipped weights."""

import numpy as np
import pytest
import torch

from odconv import Settings, explain, findings, images, load_checkpoint
from odconv.atlas import Atlas, TypicalHead, TypicalLayer, atlas_beside
from odconv.attention import HEADS, Heads
from odconv.kernel_use import kernel_use
from odconv.tasks import LIKED
from odconv.tempering import GATES, Alone, Reading
from odconv.ui import engine
from odconv.ui.pictures import FOLDER, samples
from odconv.words import LANGUAGES
from tests import oracle

LAYER = "layer1.0.conv1"


def texts(finding, language="en"):
    return " ".join(reason.say(language) for reason in finding.reasons)


# --- any network ------------------------------------------------------------------------------------------------------


def test_spatial_attention_has_a_number_for_each_tap(small_model, images):
    record = explain(small_model, images[:1]).layers[LAYER]
    found = findings.find_taps(record, LAYER, 32)
    assert found.right == ("taps",)
    assert "3\u00a0×\u00a03 numbers" in texts(found)
    assert "16\u00a0×\u00a016 places" in texts(found)


def test_a_shuffled_input_leaves_every_attention_and_changes_the_output_as_in_float64(small_model, images):
    name = "layer2.0.conv2"
    layer = small_model.get_submodule(name)
    record = explain(small_model, images[:1], keep_input_of=name).layers[name]
    changes, output = findings.shuffle_input(layer, record.input, seed=3)
    assert max(changes) < 1e-5
    order = torch.randperm(record.input[0, 0].size, generator=torch.Generator().manual_seed(3)).numpy()
    shuffled = record.input.reshape(1, -1, len(order))[..., order].reshape(record.input.shape)
    forged = oracle.forged(
        layer.weight.double(),
        {head: torch.from_numpy(values).double() for head, values in zip(HEADS, record.attention, strict=True)},
        0,
        1,
    )
    before, after = (
        torch.conv2d(torch.from_numpy(x).double(), forged, padding=layer.padding).numpy()
        for x in (record.input, shuffled)
    )
    assert output == pytest.approx(np.abs(after - before).mean() / np.abs(before).mean(), rel=1e-4)
    assert findings.find_shuffle(changes, output, name).right == ("none",)


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        (Heads(0.5, 0.0, 0.0, 0.0), ("spatial",)),
        (Heads(0.5, 0.2, None, 0.1), ("all",)),
        (Heads(0.5, 0.2, 0.0, 0.0), ()),
    ],
)
def test_what_a_shuffle_would_change_is_told(changes, right):
    assert findings.find_shuffle(changes, 0.4, "conv").right == right


@pytest.mark.parametrize(
    ("one", "after", "right"), [(0.5, "ant", "same"), (0.3, "ant", "weaker"), (0.3, "bee", "other")]
)
def test_what_one_kernel_does_to_a_prediction_is_one_of_three(one, after, right):
    found = findings.find_alone({3: 0.8, 2: 0.7, 1: one}, ("ant", after), (52.6, 49.7, 10_000))
    assert found.right == (right,)
    assert [row.text for row in found.rows] == ["0.80", "0.70", f"{one:.2f}"]
    assert "right in 52.6 % with all kernels and in 49.7 %" in texts(found)


def test_the_head_that_costs_least_may_go_and_level_ones_both():
    found = findings.find_go(0.9, {"spatial": 0.4, "channel": 0.851, "filter": 0.1, "kernel": 0.849}, "ant")
    assert found.right == ("channel", "kernel")
    assert (
        "ant has 0.90 as trained, 0.85 without the pattern of channel attention, and 0.10 without that of filter"
        in texts(found)
    )


def test_the_picture_with_the_largest_share_is_what_a_kernel_likes():
    shares = dict(zip(LIKED, (0.1, 0.7, 0.2, 0.0), strict=True))
    assert findings.find_likes(shares, {id: id for id in LIKED}, None, [], LAYER).right == (LIKED[1],)


@pytest.fixture
def atlas():
    """Two layers of two kernels, from 2 pictures of each of 3 classes, whose shares are known one by one."""
    shares = {
        "a": np.array([[0.2, 0.4], [0.3, 0.5], [0.9, 0.1]]),  # (classes, pictures) of W1
        "b": np.array([[0.1, 0.1], [0.5, 0.5], [0.9, 0.9]]),
    }
    layers = {}
    for name, first in shares.items():
        both = np.stack([first, 1 - first], -1)  # (classes, pictures, K)
        flat = both.reshape(-1, 2)
        head = TypicalHead(flat.mean(0), flat.std(0), np.zeros(3))
        layers[name] = TypicalLayer(Heads(None, None, None, head), both.mean(1))
    return Atlas("x", np.array([2, 2, 2]), layers)


def test_the_variance_between_classes_is_that_of_numpy(atlas):
    found = findings.class_shares(atlas)
    first = np.array([[0.2, 0.4], [0.3, 0.5], [0.9, 0.1]])
    assert found["a"] == pytest.approx(first.mean(1).var() / first.var())
    assert found["b"] == pytest.approx(1)
    assert findings.find_class(found, 1, "ant", atlas).right == ("last",)
    assert findings.find_class(dict(reversed(found.items())), 1, "ant", atlas).right == ("first",)
    assert findings.find_class(found | {"c": 0.1}, 1, "ant", atlas).right == ("between",)


def test_a_class_is_ranked_by_how_near_its_mean_is(atlas):
    shares = np.array([0.48, 0.52])
    assert [findings.class_rank(atlas, "b", shares, label) for label in range(3)] == [2, 1, 3]


@pytest.mark.parametrize(("strange", "right"), [([1.3, 1.4], "yes"), ([0.5, 1.4], "mixed"), ([0.5, 0.6], "nearer")])
def test_whether_unknown_things_are_unusual_is_told(strange, right):
    found = findings.find_strange({"a": 0.9, "b": 1.2}, dict(zip("cd", strange, strict=True)))
    assert found.right == (right,)
    lengths = [row.share for row in found.rows]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == 1


def reading(share, gate=0.3, effective=2.0):
    """A reading whose first class has this probability, of two."""
    gates = {"a": dict.fromkeys(GATES, gate)}
    return Reading(np.log(np.array([share, 1 - share])), gates, {"a": effective}, {"a": 1.0}, {"a": 4.0})


FEW = {head: Alone(reading(0.8), reading(0.85)) for head in GATES}


def suffers(alone):
    return findings.find_suffers(reading(0.9), alone, 4, "x")


def test_the_head_that_a_high_temperature_harms_most_is_told_and_whether_that_is_scale_or_pattern():
    alone = FEW | {"filter": Alone(reading(0.2, gate=0.5), reading(0.7)), "kernel": Alone(reading(0.5), None)}
    found = suffers(alone)
    assert found.right == ("filter",)
    assert [(row.answer, row.text) for row in found.rows if row.answer] == [
        ("spatial", "0.80"),
        ("channel", "0.80"),
        ("filter", "0.20"),
        ("kernel", "0.50"),
    ]
    assert [row.text for row in found.rows if not row.answer] == ["0.85", "0.85", "0.70"]
    assert texts(found).startswith(
        "With T = 30 on filter attention alone, the probability of x falls from 0.90 to 0.20."
    )
    assert "goes from 0.30 to 0.50" in texts(found)
    assert "With the gain held, x has 0.70. So most of the loss is scale." in texts(found)
    assert suffers(alone | {"kernel": Alone(reading(0.204), None)}).right == ("filter", "kernel")
    assert "So most of the loss is the pattern" in texts(suffers(alone | {"filter": Alone(reading(0.2), reading(0.4))}))


def test_where_kernel_attention_is_harmed_most_nothing_is_scaled():
    found = suffers(FEW | {"kernel": Alone(reading(0.1, effective=3.99), None)})
    assert found.right == ("kernel",)
    assert "nothing is scaled" in texts(found)
    assert "effective kernels from 2.00 to 3.99 of 4" in texts(found)


def test_where_no_head_is_harmed_that_is_said():
    found = suffers({head: Alone(reading(0.95), reading(0.9)) for head in GATES})
    assert found.right == ()
    assert "x is at least as likely as before (0.90)" in texts(found)


# --- the shipped weights ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    return load_checkpoint(engine.BUNDLED / engine.LESSONS)


@pytest.fixture(scope="module")
def batch(shipped):
    """All samples as model input, by id."""
    pictures = {id: images.decode((FOLDER / one.file).read_bytes()) for id, one in samples().items()}
    return {id: images.prepare(picture, shipped.card) for id, picture in pictures.items()}


@pytest.fixture(scope="module")
def record(shipped, batch):
    return explain(shipped.model, torch.cat([*batch.values()]))


def of(record, batch, id):
    return record.picture(list(batch).index(id))


def test_espresso_stays_with_one_kernel_and_bricks_gain(shipped, batch, record):
    best = of(record, batch, "espresso").logits[0].argmax()
    one = explain(shipped.model, batch["espresso"], Settings(kernels=1))
    assert one.logits[0].argmax() == best
    assert one.probabilities[0, best] > 0.9
    counts = shipped.card.measured["strongest_n_kernels"]
    assert counts["1"]["top1"] < counts["4"]["top1"]


def test_espresso_can_do_without_the_pattern_of_spatial_or_kernel_attention_and_not_of_filter(shipped, batch, record):
    best = of(record, batch, "espresso").logits[0].argmax()
    without = {
        head: float(explain(shipped.model, batch["espresso"], Settings(ablate=(head,))).probabilities[0, best])
        for head in HEADS
    }
    assert min(without["spatial"], without["kernel"]) > 0.9
    assert max(without["channel"], without["filter"]) < 0.6
    assert min(without, key=without.__getitem__) == "filter"


def test_w3_likes_espresso_and_dishes_and_not_the_dugong(shipped, batch, record):
    shares = {id: of(record, batch, id).layers[LAYER].attention.kernel[0, 2] for id in LIKED}
    assert max(shares, key=shares.__getitem__) == "espresso"
    atlas = atlas_beside(engine.BUNDLED / engine.LESSONS)
    use = kernel_use(atlas.layers[LAYER], atlas.counts)[2]
    classes = [name.partition(",")[0] for name in shipped.card.classes]
    assert use.preferred
    assert {classes[label] for label in use.most} == {"potpie", "meat loaf", "pizza"}
    assert "dugong" in {classes[label] for label in use.least}


def test_photos_of_a_class_agree_most_between_the_ends_of_the_network():
    found = findings.class_shares(atlas_beside(engine.BUNDLED / engine.LESSONS))
    best = max(found, key=found.__getitem__)
    assert best.startswith("layer4.0")
    assert 0.4 < found[best] < 0.55  # so most of what differs lies within a class


def test_an_unknown_thing_need_not_get_unusual_attention(batch, record):
    atlas = atlas_beside(engine.BUNDLED / engine.LESSONS)
    far = {id: findings.distance_from_typical(of(record, batch, id), atlas) for id in batch}
    known, strange = ({id: far[id] for id in far if (samples()[id].known is None) == none} for none in (False, True))
    assert findings.find_strange(known, strange).right == ("mixed",)
    assert min(far, key=far.__getitem__) == "pagoda"
    assert samples()["pagoda"].known is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_can_be_said_in_every_language(language, atlas, small_model, images):
    for found in (
        findings.find_taps(explain(small_model, images[:1]).layers[LAYER], LAYER, 32),
        findings.find_shuffle(Heads(0.0, 0.0, 0.0, 0.0), 0.4, "conv"),
        findings.find_shuffle(Heads(0.1, 0.0, 0.0, 0.0), 0.4, "conv"),
        findings.find_alone({2: 0.5, 1: 0.4}, ("a", "a"), None),
        findings.find_alone({2: 0.5, 1: 0.4}, ("a", "b"), (1.0, 2.0, 3)),
        findings.find_go(0.5, {"spatial": 0.4}, "a"),
        findings.find_likes(dict.fromkeys(LIKED, 0.1), {id: id for id in LIKED}, None, [], LAYER),
        findings.find_class(findings.class_shares(atlas), 1, "a", atlas),
        findings.find_strange({"a": 1.0}, {"b": 0.5, "c": 1.5}),
        suffers(FEW),
        suffers(FEW | {"kernel": Alone(reading(0.1), None)}),
        suffers({"spatial": Alone(reading(0.95), None)}),
    ):
        assert texts(found, language)
        assert found.note is None or found.note.say(language)
