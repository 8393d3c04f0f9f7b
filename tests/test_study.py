"""The study kit: what is drawn at random, what the file holds, and that each right answer is right and the others wrong."""

import csv
import io
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from odconv import Settings, explain, images, load_checkpoint, study
from odconv.attention import HEADS, Heads, attend
from odconv.layer import od_conv2d
from odconv.study import ARMS, PHASES, QUESTIONS, UNKNOWN, Study
from odconv.ui import engine
from odconv.ui.pictures import FOLDER
from odconv.words import LANGUAGES, say

SEEDS = range(200)


def take(seed, pick, seconds=90.0, predicted=0):
    """A study in which ``pick(question)`` is answered every time."""
    now = Study(seed)
    for _ in QUESTIONS:
        now = study.give(study.mark(now, pick(study.ask(now))), 10.0)
    now = study.leave_path(now, 10.0 + seconds, predicted)
    for _ in QUESTIONS:
        now = study.give(study.mark(now, pick(study.ask(now))), 500.0)
    return now


def right(question):
    return QUESTIONS[question].right


# --- what is drawn, and the way through it ----------------------------------------------------------------------------


def test_either_way_is_drawn_about_as_often():
    counts = Counter(Study(seed).arm for seed in SEEDS)
    assert set(counts) == set(ARMS)
    assert min(counts.values()) > 70  # the seeds are fixed, and so is this


def test_every_question_is_asked_once_before_and_once_after_in_an_order_of_its_own():
    orders = [study.order_questions(seed, phase) for seed in SEEDS for phase in PHASES]
    assert all(sorted(order) == sorted(QUESTIONS) for order in orders)
    assert len(set(map(tuple, orders))) > 0.99 * len(orders)


def test_the_right_answer_stands_anywhere_and_not_knowing_last():
    for id, question in QUESTIONS.items():
        offered = [study.order_answers(seed, phase, id) for seed in SEEDS for phase in PHASES]
        assert all(sorted(one) == sorted([question.right, *question.wrong, UNKNOWN]) for one in offered)
        assert {one.index(question.right) for one in offered} == {0, 1, 2, 3}
        assert {one[-1] for one in offered} == {UNKNOWN}


def test_a_seed_draws_the_same_in_every_python():
    assert (Study(7).arm, study.order_questions(7, "before")) == (
        "interactive",
        ["static", "candidates", "channel", "temperature", "spatial", "kernel", "flat", "filter"],
    )


def test_without_a_marked_answer_nothing_is_given():
    assert study.give(Study(3), 1.0) == Study(3)


def test_the_way_leads_from_questions_along_the_path_to_questions():
    now = Study(5)
    assert now.stage == "before"
    assert study.leave_path(now, 9.0, 0) == now
    done = take(5, right, seconds=61.0, predicted=4)
    assert (done.stage, done.path_seconds, done.predicted) == ("done", 61.0, 4)
    assert [id for id, _ in done.before] == study.order_questions(5, "before")
    assert [id for id, _ in done.after] == study.order_questions(5, "after")
    assert study.count_right(done.after) == len(QUESTIONS)
    assert study.count_right(take(5, lambda id: UNKNOWN).after) == 0


def test_the_file_has_a_row_for_each_answer_and_nothing_about_who_gave_it():
    done = take(11, lambda id: right(id) if id in HEADS else UNKNOWN, seconds=75.4, predicted=2)
    text = study.to_csv(done, version="1.2", network="a.safetensors", language="zh")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 2 * len(QUESTIONS) == 16
    same = {"seed": "11", "version": "1.2", "network": "a.safetensors", "language": "zh", "arm": done.arm}
    same |= {"path_seconds": "75", "predicted": "2"}
    assert all({name: row[name] for name in same} == same for row in rows)
    assert set(rows[0]) - set(same) == {"phase", "position", "question", "offered", "answer", "right"}
    for phase in PHASES:
        those = [row for row in rows if row["phase"] == phase]
        assert [row["question"] for row in those] == study.order_questions(11, phase)
        assert [row["position"] for row in those] == list("12345678")
        assert all(row["answer"] in row["offered"].split() for row in those)
        assert [row["right"] for row in those] == [str(int(row["question"] in HEADS)) for row in those]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_question_has_answers_that_can_be_told_apart(language):
    for id, question in QUESTIONS.items():
        assert say(language, f"quiz.{id}")
        said = {say(language, f"quiz.{id}_{answer}") for answer in (question.right, *question.wrong)}
        assert len(said) == 4
        assert say(language, "quiz.unknown") not in said


# --- what is right ----------------------------------------------------------------------------------------------------

N, K, C_OUT, C_IN, SIDE = 1, 4, 5, 6, 3


@pytest.fixture(scope="module")
def layer():
    """Weight, attention and input of a layer in float64."""
    random = torch.Generator().manual_seed(0)
    shapes = {"weight": (K, C_OUT, C_IN, SIDE, SIDE), "x": (N, C_IN, 8, 8)}
    made = {name: torch.randn(shape, generator=random, dtype=torch.float64) for name, shape in shapes.items()}
    logits = Heads(
        *(torch.randn(N, *s, generator=random, dtype=torch.float64) for s in ((3, 3), (C_IN,), (C_OUT,), (K,)))
    )
    return made["weight"], attend(logits, Settings()), made["x"]


def output(weight, attention, x):
    return od_conv2d(x, weight, attention, stride=1, padding=1, dilation=1, groups=1)


# What each answer names: of the weight (K, C_out, C_in, k, k), of the input, or of the output; entry 1 of each.
PARTS_NAMED = {
    "tap": ("weight", (..., 0, 1)),
    "input": ("weight", (slice(None), slice(None), 1)),
    "output": ("weight", (slice(None), 1)),
    "candidate": ("weight", (1,)),
    "pixel": ("x", (..., 0, 1)),
    "channel": ("x", (slice(None), 1)),
    "place": ("y", (..., 0, 1)),
}


def doubled(tensor, index):
    twice = tensor.clone()
    twice[index] *= 2
    return twice


@pytest.mark.parametrize("head", HEADS)
def test_an_attention_multiplies_what_the_right_answer_names_and_no_other(layer, head):
    weight, attention, x = layer
    index = (0, 0, 1) if head == "spatial" else (0, 1)
    wanted = output(weight, attention._replace(**{head: doubled(getattr(attention, head), index)}), x)

    def after(answer):
        where, part = PARTS_NAMED[answer]
        if where == "weight":
            return output(doubled(weight, part), attention, x)
        if where == "x":
            return output(weight, attention, doubled(x, part))
        return doubled(output(weight, attention, x), part)

    question = QUESTIONS[head]
    torch.testing.assert_close(after(question.right), wanted, rtol=1e-12, atol=1e-12)
    for wrong in question.wrong:
        assert (after(wrong) - wanted).abs().max() > 1e-3


def test_a_photo_is_convolved_with_one_weighted_sum_and_nothing_else(layer):
    weight, attention, x = layer
    shares = Heads(None, None, None, attention.kernel)
    got = output(weight, shares, x)
    assert right("candidates") == "sum"
    one = sum(share * kernel for share, kernel in zip(attention.kernel[0], weight, strict=True))
    torch.testing.assert_close(F.conv2d(x, one, padding=1), got, rtol=1e-12, atol=1e-12)  # the same at each place
    largest = F.conv2d(x, weight[attention.kernel[0].argmax()], padding=1)
    assert (largest - got).abs().max() > 1e-3
    in_a_row = weight[:, :, :C_OUT]
    first = y = x[:, :C_OUT]
    for kernel in in_a_row:
        y = F.conv2d(y, kernel, padding=1)
    assert (y - output(in_a_row, shares, first)).abs().max() > 1e-3


def test_a_high_temperature_makes_weights_alike_and_neither_hard_nor_zero_nor_large():
    assert right("temperature") == "alike"
    random = torch.Generator().manual_seed(1)
    logits = Heads(*(12 * torch.rand(1, n, generator=random, dtype=torch.float64) - 6 for n in (9, 32, 32, 4)))
    trained, hot = attend(logits, Settings()), attend(logits, Settings(temperature=30.0))
    for head, was, now in zip(HEADS, trained, hot, strict=True):
        middle = 0.25 if head == "kernel" else 0.5
        assert (now - middle).abs().max() < 0.11  # from |logit| ≤ 6: |σ(z) − 1/2| ≤ |z|/4, and of a softmax the same
        assert np.ptp(now.numpy()) < 0.25 * np.ptp(was.numpy())
        assert now.min() > 0.1
        assert now.max() < 0.7


def test_flat_heads_lose_their_pattern_and_keep_their_strength(layer):
    weight, attention, x = layer
    assert right("flat") == "pattern"
    logits = Heads(*(torch.log(head / (1 - head)) for head in attention[:3]), torch.log(attention.kernel))
    flat = attend(logits, Settings(ablate=HEADS))
    for was, now in zip(attention, flat, strict=True):
        assert np.ptp(now.numpy()) < 1e-12 < np.ptp(was.numpy())
        torch.testing.assert_close(now.mean(), was.mean(), rtol=1e-12, atol=1e-12)
    assert (output(weight, flat, x) - output(weight, attention, x)).abs().max() > 1e-3


def test_a_static_network_lacks_kernels_of_a_photos_own_and_nothing_else():
    assert right("static") == "own"
    twin = load_checkpoint(engine.BUNDLED / "resnet18_w32_tiny_imagenet.safetensors")
    dynamic = load_checkpoint(engine.BUNDLED / engine.LESSONS)
    photos = [images.decode((FOLDER / f"{name}.jpg").read_bytes()) for name in ("espresso", "rocket")]
    static = [explain(twin.model, images.prepare(photo, twin.card)) for photo in photos]
    made = [explain(dynamic.model, images.prepare(photo, dynamic.card)) for photo in photos]
    assert all(not record.layers for record in static)  # no layer's kernel depends on the photo
    assert static[0].logits.argmax() != static[1].logits.argmax()  # and yet the outputs differ
    name = "layer1.0.conv1"
    assert np.abs(made[0].layers[name].attention.kernel - made[1].layers[name].attention.kernel).max() > 0.1
    learned = twin.model.get_submodule(name).weight
    assert learned.shape[0] > 1
    assert learned.std() > 0
