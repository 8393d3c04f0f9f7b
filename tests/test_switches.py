"""What switches do: the pass they make, against attention put together by hand in float64, and what is said of it."""

import copy
from functools import cache

import numpy as np
import pytest
import torch

from odconv import HEADS, Settings, explain, probe
from odconv.atlas import atlas_beside
from odconv.attention import Heads, attend
from odconv.checkpoint import load_checkpoint
from odconv.images import decode, prepare
from odconv.layer import ODConv2d, od_conv2d
from odconv.switches import (
    CHOICES,
    MAPPED,
    NO_SOURCES,
    NOTHING,
    RELATIVES,
    Sources,
    Switches,
    attentions_of,
    cells_of,
    find_effect,
    relative,
    set_by_hand,
    switch_of,
    to_pass,
)
from odconv.ui import engine
from odconv.ui.pictures import FOLDER
from tests import oracle

LAYER = "layer2.0.conv1"


@pytest.fixture(scope="module")
def double(small_model):
    return copy.deepcopy(small_model).double()


@pytest.fixture(scope="module")
def image(images):
    return images[:1].double()


@pytest.fixture(scope="module")
def sources(double, images):
    """Another picture's attentions, and some that nothing made."""
    drawn = np.random.default_rng(1)
    other = attentions_of(explain(double, images[1:2].double()))
    typical = {
        name: Heads(*(None if head is None else drawn.random(head.shape) for head in heads))
        for name, heads in other.items()
    }
    return Sources(typical, other, {LAYER: typical[LAYER]})


class Replacing:
    """A pass in which every layer's attention is made by ``make(name, logits)``, in the layer's own code's place."""

    def __init__(self, model, make):
        self.model, self.make = model, make

    def __call__(self, x):
        names = {module: name for name, module in self.model.named_modules() if isinstance(module, ODConv2d)}

        def forward(layer, inputs, _):
            attention = self.make(names[layer], layer.attention(inputs[0]))
            where = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
            return od_conv2d(inputs[0], layer.weight, attention, **where)

        hooks = [module.register_forward_hook(forward) for module in names]
        try:
            with torch.no_grad():
                return self.model(x)
        finally:
            for hook in hooks:
                hook.remove()


def by_hand(choices, layer, seed, sources):
    """Attention as the choices say, from the definitions: rules from the oracle, the rest copied in."""

    def make(name, logits):
        raw = {head: values.numpy() for head, values in zip(HEADS, logits, strict=True) if values is not None}
        made = {}
        for head, choice in zip(HEADS, choices, strict=True):
            if head not in raw:
                made[head] = None
                continue
            acts = layer in (None, name) or choice == "hand"
            found = oracle.attend(
                {head: raw[head]},
                ablate=(head,) if acts and choice == "mean" else (),
                replaced=[choice if acts and choice in ("uniform", "argmax", "shuffled") else None] * 4,
                seed=seed,
            )[head]
            if acts and choice in ("typical", "transplanted", "hand") and name in getattr(sources, choice):
                found = np.asarray(getattr(getattr(sources, choice)[name], head))[None]
            made[head] = torch.from_numpy(np.ascontiguousarray(found, dtype=np.float64))
        return Heads(**made)

    return make


def run(model, image, told):
    return explain(model, image, told.settings, given=told.given)


@pytest.mark.parametrize("layer", [None, LAYER])
@pytest.mark.parametrize(
    "choices",
    [
        *[Heads(*[choice] * 4) for choice in CHOICES],
        Heads("typical", "mean", "uniform", "shuffled"),
        Heads("hand", "transplanted", "argmax", "learned"),
    ],
    ids=",".join,
)
def test_a_pass_under_switches_is_that_of_attention_replaced_by_hand_in_float64(double, image, sources, choices, layer):
    told = to_pass(Switches(choices, layer, 3), sources)
    given = {
        name: Heads(*(v if v is None else torch.from_numpy(v) for v in heads)) for name, heads in told.given.items()
    }
    with torch.no_grad(), probe(double, told.settings, given=given):
        found = double(image)
    expected = Replacing(double, by_hand(choices, layer, 3, sources))(image)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run(double, image, told).logits, found, rtol=1e-6)
    if set(choices) - {"learned"}:
        assert not torch.allclose(found, double(image), rtol=1e-6, atol=0)


def test_a_switch_leaves_the_model_and_other_layers_as_they_are(double, image, sources):
    before = {name: tensor.clone() for name, tensor in double.state_dict().items()}
    plain = explain(double, image)
    changed = run(double, image, to_pass(Switches(Heads("typical", "mean", "argmax", "hand"), LAYER), sources))
    for name, tensor in double.state_dict().items():
        assert torch.equal(tensor, before[name])
    earlier = list(plain.layers)[: list(plain.layers).index(LAYER)]
    for name in earlier:
        for one, other in zip(plain.layers[name].attention, changed.layers[name].attention, strict=True):
            np.testing.assert_array_equal(one, other)
    later = list(plain.layers)[list(plain.layers).index(LAYER) + 1]
    learned = attend(Heads(*map(torch.from_numpy, changed.layers[later].logits)), Settings())
    for one, other in zip(learned, changed.layers[later].attention, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)  # the record keeps float32


def test_alone_is_the_one_switch_with_the_others_as_learned():
    both = Switches(Heads("mean", "learned", "learned", "argmax"), LAYER, 2)
    assert both.alone("kernel") == Switches(Heads("learned", "learned", "learned", "argmax"), LAYER, 2)
    assert to_pass(both.alone("channel"), NO_SOURCES) == (Settings(), NOTHING)


def test_a_cell_of_the_map_is_one_head_in_one_layer(small_model, images):
    record = explain(small_model, images[:1])
    cells = cells_of(record)
    assert len(cells) == 4 * len(record.layers)
    for choice in MAPPED:
        switches = switch_of(cells[5], choice)
        assert switches.layer == cells[5][0]
        assert [head for head, one in zip(HEADS, switches.choices, strict=True) if one == choice] == [cells[5][1]]
        assert switches.choices.count("learned") == 3


def test_an_effect_is_on_the_class_that_was_first_as_trained():
    trained, now = np.array([1.0, 3.0, 2.0], np.float32), np.array([4.0, 3.5, 0.0], np.float32)
    effect = find_effect(trained, now)
    powers = np.exp([4.0, 3.5, 0.0])
    assert effect.logit == 0.5
    assert effect.probability == pytest.approx(powers[1] / powers.sum(), rel=1e-12)
    assert effect.first == 0


def test_relatives_leave_on_what_their_namesakes_have():
    assert {name: relative(name, "mean").choices for name in RELATIVES} == {
        "static": ("mean",) * 4,
        "se": ("mean", "mean", "learned", "mean"),
        "dyconv": ("mean", "mean", "mean", "learned"),
    }


def test_with_all_heads_typical_every_picture_meets_the_same_kernels(double, images, sources):
    told = to_pass(relative("static", "typical"), sources)
    one, other = (run(double, images[i : i + 1].double(), told) for i in (0, 1))
    assert not np.allclose(one.logits, other.logits)
    for name, layer in one.layers.items():
        for mine, its in zip(layer.attention, other.layers[name].attention, strict=True):
            np.testing.assert_array_equal(mine, its)


def test_entries_set_by_hand_are_those_and_shares_sum_to_one():
    learned = Heads(np.full((3, 3), 0.5), None, np.array([0.1, 0.2]), np.array([0.5, 0.3, 0.2]))
    edits = [("spatial", 4, 0.9), ("filter", 1, 0.0), ("filter", 7, 0.4), ("channel", 0, 1.0), ("kernel", 0, 0.0)]
    heads = set_by_hand(learned, edits)
    np.testing.assert_allclose(heads.spatial, [[0.5, 0.5, 0.5], [0.5, 0.9, 0.5], [0.5, 0.5, 0.5]], rtol=1e-6)
    assert heads.channel is None
    np.testing.assert_allclose(heads.filter, [0.1, 0.0], rtol=1e-6)
    np.testing.assert_allclose(heads.kernel, [0.0, 0.6, 0.4], rtol=1e-6)
    none = set_by_hand(learned, [("kernel", i, 0.0) for i in range(3)])
    np.testing.assert_array_equal(none.kernel, learned.kernel)


def test_the_shipped_atlas_has_a_typical_attention_for_every_cell():
    weights = engine.BUNDLED / engine.LESSONS
    checkpoint, atlas = load_checkpoint(weights), atlas_beside(weights)
    size = checkpoint.card.image_size
    record = explain(checkpoint.model, torch.zeros(1, 3, size, size))
    assert {
        (name, head) for name, heads in atlas.means().items() for head in HEADS if getattr(heads, head) is not None
    } == set(cells_of(record))
    told = to_pass(Switches(Heads(*["typical"] * 4)), Sources(atlas.means(), NOTHING, NOTHING))
    applied = run(checkpoint.model, torch.zeros(1, 3, size, size), told)
    for name, heads in atlas.means().items():
        for wanted, used in zip(heads, applied.layers[name].attention, strict=True):
            np.testing.assert_array_equal(used[0], wanted)


# --- what the page says of each choice, on the shipped weights ---------------------------------------------------------


@pytest.fixture(scope="module", params=["4x", "1x"])
def shipped(request):
    """under(choice) -> the passes of two photos under it, on all heads; those as learned; where attentions come from."""
    weights = engine.BUNDLED / f"od_resnet18_w32_{request.param}_tiny_imagenet.safetensors"
    checkpoint, atlas = load_checkpoint(weights), atlas_beside(weights)
    photos = [
        prepare(decode((FOLDER / f"{name}.jpg").read_bytes()), checkpoint.card) for name in ("tabby-cat", "rocket")
    ]
    trained = [explain(checkpoint.model, photo) for photo in photos]
    sources = Sources(atlas.means(), attentions_of(trained[1]), NOTHING)

    @cache
    def under(choice, layer=None, heads=HEADS):
        told = to_pass(Switches(Heads(*(choice if head in heads else "learned" for head in HEADS)), layer, 3), sources)
        return [run(checkpoint.model, photo, told) for photo in photos]

    return under, trained, sources


def heads_of(record):
    """(layer, head, attention that the branch made in this pass, attention that was applied), each flat, of one picture."""
    for name, layer in record.layers.items():
        made = attend(Heads(*(None if v is None else torch.from_numpy(v) for v in layer.logits)), Settings())
        for head, own, used in zip(HEADS, made, layer.attention, strict=True):
            if own is not None:
                yield name, head, own[0].numpy().ravel(), used[0].ravel()


def test_as_learned_every_head_of_every_layer_is_worked_out_anew_for_every_picture(shipped):
    _, (one, other), _ = shipped
    for (*_, mine, _), (*_, its, _) in zip(heads_of(one), heads_of(other), strict=True):
        assert not np.array_equal(mine, its)


def test_typical_is_the_same_for_every_picture_and_has_a_pattern(shipped):
    under, _, sources = shipped
    one, other = (list(heads_of(record)) for record in under("typical"))
    for (name, head, own, used), (*_, its) in zip(one, other, strict=True):
        np.testing.assert_array_equal(used, its)
        np.testing.assert_array_equal(used, np.ravel(getattr(sources.typical[name], head)))
        assert np.ptp(used) > 0
        assert not np.array_equal(used, own)


def test_own_mean_keeps_the_strength_and_drops_the_pattern(shipped):
    under, *_ = shipped
    for *_, own, used in heads_of(under("mean")[0]):
        np.testing.assert_allclose(used, own.mean(dtype=np.float64), rtol=1e-5)


def test_uniform_is_what_logits_of_0_give_and_for_kernel_attention_the_own_mean(shipped):
    under, *_ = shipped
    for _, head, own, used in heads_of(under("uniform")[0]):
        np.testing.assert_array_equal(used, 1 / len(own) if head == "kernel" else 0.5)
    means = {(name, head): used for name, head, _, used in heads_of(under("mean")[0])}
    for name, head, _, used in heads_of(under("uniform")[0]):
        if head == "kernel":
            np.testing.assert_allclose(used, means[name, head], rtol=1e-6)


def test_argmax_gives_the_largest_entry_the_sum_and_keeps_the_mean(shipped):
    under, *_ = shipped
    for _, head, own, used in heads_of(under("argmax")[0]):
        assert np.count_nonzero(used) == 1
        assert own[used.argmax()] == own.max()
        assert used.mean(dtype=np.float64) == pytest.approx(own.mean(dtype=np.float64), rel=1e-5)
        assert head != "kernel" or used.max() == 1


def test_shuffled_keeps_the_numbers_moves_each_and_does_so_alike_in_layers_of_the_same_size(shipped):
    under, *_ = shipped
    orders = {}
    for _, _, own, used in heads_of(under("shuffled")[0]):
        np.testing.assert_allclose(np.sort(used), np.sort(own), rtol=1e-5)
        if len(np.unique(own)) == len(own):  # else it cannot be told which of two equal ones came where
            order = np.argsort(own)[np.argsort(np.argsort(used))]
            assert not (order == np.arange(len(own))).any()
            orders.setdefault(len(own), []).append(order)
    assert max(map(len, orders.values())) > 3
    for same in orders.values():
        for order in same:
            np.testing.assert_array_equal(order, same[0])


def test_transplanted_is_what_the_same_layer_makes_of_the_other_picture_as_trained(shipped):
    under, (_, other), _ = shipped
    for (*_, wanted), (*_, used) in zip(heads_of(other), heads_of(under("transplanted")[0]), strict=True):
        np.testing.assert_array_equal(used, wanted)


def test_in_one_layer_a_choice_acts_there_and_all_other_layers_stay_as_learned(shipped):
    under, *_ = shipped
    for name, _, own, used in heads_of(under("mean", LAYER)[0]):
        assert np.array_equal(used, own) == (name != LAYER)


def test_effects_of_single_heads_need_not_sum_to_that_of_all(shipped):
    under, (trained, _), _ = shipped
    alone = [find_effect(trained.logits[0], under("mean", heads=(head,))[0].logits[0]).logit for head in HEADS]
    together = find_effect(trained.logits[0], under("mean")[0].logits[0]).logit
    assert abs(sum(alone) - together) > 0.01
