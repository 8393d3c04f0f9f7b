"""What is said of published and measured results is what the files say, and these are what the raw results say."""

import base64
import csv
import json
import math
import re
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import paired
from benchmarks.pairs.report import read, report, summarize
from benchmarks.pairs.training import PairedError
from odconv import HEADS, drawings, figures, results
from odconv.results import CONTROLS, COSTS, ODCONV, Comparison, Line, Point
from odconv.training.measure import MOVES
from odconv.ui import published
from odconv.ui.results import PAIRS
from odconv.words import LANGUAGES, say

ROOT = Path(__file__).parents[1]
RUNS = [("parent", 16), ("parent", 32), ("scratch", 16)]
RAW = [ROOT / "benchmarks" / "results" / f"paired_{start}_w{width}_32px.jsonl" for start, width in RUNS]
ARMS = {run: {"static", *ODCONV} for run in RUNS} | {RUNS[0]: {"static", "static_distilled", *ODCONV, *CONTROLS}}
T_5 = 2.570582  # Student's t for 5 degrees of freedom, 95 %, from a printed table


@pytest.fixture(scope="module")
def pairs():
    return results.read_pairs(PAIRS)


@pytest.fixture(scope="module")
def lines():
    return results.imagenet_lines(published.imagenet(), "parameters")


def entries(run):
    path = RAW[RUNS.index(run)]
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def right(run, arm, what="right"):
    """Seed -> which of the pictures are right, read by other means than the script's."""
    some = [entry for entry in entries(run) if entry["arm"] == arm]
    bits = {entry["seed"]: base64.b64decode(entry[what]) for entry in some}
    return {seed: [byte >> (7 - k) & 1 for byte in data for k in range(8)] for seed, data in bits.items()}


def differences(run, arm, what="right", other="static"):
    """Of each seed, in points."""
    mine, theirs = right(run, arm, what), right(run, other)
    assert list(mine) == list(theirs) == list(range(6))
    return [(sum(mine[seed]) - sum(theirs[seed])) / 100 for seed in mine]  # 10,000 pictures


def interval(values):
    mean, reach = statistics.fmean(values), T_5 * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - reach, mean + reach


def readme(*parts):
    return " ".join(ROOT.joinpath(*parts, "README.md").read_text(encoding="utf-8").split())


# --- measured -----------------------------------------------------------------------------------------------------------


def test_the_raw_results_are_those_of_six_seeds_with_a_bit_for_each_of_10000_pictures():
    assert sum(path.stat().st_size for path in RAW) < 450_000
    for run in RUNS:
        found = [entry for entry in entries(run) if entry["arm"] in ARMS[run]]
        assert {(entry["arm"], entry["seed"]) for entry in found} == {
            (arm, seed) for arm in ARMS[run] for seed in range(6)
        }
        for entry in found:
            assert (entry["plan"]["start"], entry["plan"]["width"]) == run
            for key in [key for key in entry if key.startswith("right")]:
                count = sum(bin(byte).count("1") for byte in base64.b64decode(entry[key]))
                assert 100 * count / 10_000 == pytest.approx(entry[key.replace("right", "top1")], abs=1e-9)


def test_the_table_in_the_readme_is_what_the_script_prints():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- paired -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert shown
    assert shown[1] == "\n\n".join(report(read(path)) for path in RAW)


def test_the_summary_is_what_the_script_makes_of_the_raw_results(tmp_path, capsys):
    path = tmp_path / "summary.json"
    paired.main(["--report", *map(str, RAW), "--summary", str(path)])
    assert capsys.readouterr().out.rstrip("\n") == "\n\n".join(report(read(path)) for path in RAW)
    ours, theirs = (json.loads(one.read_text(encoding="utf-8")) for one in (PAIRS, path))
    assert len(ours) == len(theirs) == len(RUNS)
    for mine, made in zip(ours, theirs, strict=True):
        compared = zip(mine.pop("comparisons"), made.pop("comparisons"), strict=True)
        assert mine == made
        for one, other in compared:
            for key, value in other.items():
                if isinstance(value, str | int):
                    assert one[key] == value
                else:  # to the last bit on the machine that made it
                    assert one[key] == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_results_are_read_from_a_folder_as_from_a_file(tmp_path):
    for entry in entries(RUNS[0]):
        (tmp_path / f"{entry['arm']}_{entry['seed']}.json").write_text(json.dumps(entry), encoding="utf-8")
    assert report(read(tmp_path)) == report(read(RAW[0]))


def test_without_a_folder_there_is_nothing_to_do_and_one_pair_has_no_summary():
    with pytest.raises(SystemExit, match="--out is needed"):
        paired.main(["--report"])
    with pytest.raises(PairedError, match="two pairs at least"):
        summarize([entry for entry in read(RAW[0]) if entry["seed"] == 0])


def check_counted(found, expected):
    assert found.differences == pytest.approx(expected, abs=1e-9)
    assert (found.difference, found.low, found.high) == pytest.approx(interval(expected), abs=1e-5)
    flips = np.array(np.meshgrid(*[(1, -1)] * 6)).reshape(6, -1).T @ np.array(expected)
    assert found.sign_flip_p == np.mean(np.abs(flips) >= abs(sum(expected)) - 1e-9)


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_what_the_page_reads_of_odconv_is_counted_from_the_bits(pairs, run):
    for arm, found in zip(ODCONV, pairs[run].against_twins(), strict=True):
        assert (found.arm, found.against, found.kernels) == (arm, "static", int(arm[-1]))
        check_counted(found, differences(run, arm))
    for gates in ("frozen", "shuffled"):
        for arm, found in zip(ODCONV, pairs[run].against_own(gates), strict=True):
            assert found.arm == arm
            check_counted(found, differences(run, arm, f"right_{gates}", arm))


@pytest.mark.parametrize("arm", CONTROLS)
def test_what_the_page_reads_of_what_odconv_is_held_against_is_counted_from_the_bits(pairs, arm):
    (found,) = pairs[RUNS[0]].against_twins([arm])
    twin = "static_distilled" if arm == "od4_distilled" else "static"
    assert (found.arm, found.against) == (arm, twin)
    check_counted(found, differences(RUNS[0], arm, other=twin))


def test_odconv_gains_from_a_narrow_parent_loses_from_random_weights_and_its_gates_have_to_fit(pairs):
    """The words of the page and of the READMEs rest on these."""
    narrow, wide, scratch = (pairs[run] for run in RUNS)
    for one in narrow.against_twins():
        assert one.verdict == "gain"
        assert min(one.differences) > 0
    assert {one.verdict for one in wide.against_twins()} == {"open"}
    assert {one.verdict for one in scratch.against_twins()} == {"loss"}
    least = 2 / 2**6  # of the ways to choose six signs, those that are all alike
    assert {one.sign_flip_p for run in (narrow, scratch) for one in run.against_twins()} == {least}
    for gates in ("frozen", "shuffled"):
        for run in pairs.values():
            assert {one.verdict for one in run.against_own(gates)} == {"loss"}
    assert {one.plan["side"] for one in pairs.values()} == {32}
    assert {one.plan["classes"] for one in pairs.values()} == {200}
    assert not any(one.plan["tune"] for one in pairs.values())
    assert {one.device for one in pairs.values()} == {"NVIDIA H200"}


def test_a_static_network_of_the_same_cost_gains_more_than_odconv(pairs):
    """The page's verdict, its sentence on controls, and the READMEs rest on these."""
    pairs = pairs[RUNS[0]]
    found = {one.arm: one for one in pairs.against_twins([*ODCONV, *CONTROLS])}
    assert {arm: one.verdict for arm, one in found.items() if one.verdict != "gain"} == {"od4_late": "open"}
    assert min(found["wider"].low, found["more"].low) > max(found[arm].high for arm in (*ODCONV, "se", "od4_distilled"))
    assert found["se"].high < found["od4"].low
    most = found["od4"]
    assert found["wider"].multiply_adds == pytest.approx(most.multiply_adds, rel=0.01)
    assert found["more"].parameters == pytest.approx(most.parameters, rel=0.01)
    assert (found["wider"].kernels, found["more"].kernels, found["se"].kernels) == (0, 0, 0)


@pytest.mark.parametrize(("low", "high", "verdict"), [(0.1, 2.0, "gain"), (-2.0, -0.1, "loss"), (-0.1, 2.0, "open")])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_follow_the_interval(pairs, low, high, verdict, language):
    run = pairs[RUNS[0]]
    one = replace(run.against_twins()[0], difference=(low + high) / 2, low=low, high=high)
    assert one.verdict == verdict
    four = run.against_twins()[1]
    sentence = drawings.describe_pairs(language, replace(run, comparisons=(one, four)))
    shown = sorted(abs(value) for value in (low, high)) if verdict != "open" else [low, high]
    points = abs(one.difference) if verdict == "loss" else one.difference
    ends = {"low": f"{shown[0]:.2f}", "high": f"{shown[1]:.2f}"}
    assert say(language, f"results.effect_{verdict}", kernels=1, points=f"{points:.2f}", **ends) in sentence


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_sentences_hold_the_numbers_that_are_counted_from_the_bits(pairs, language):
    for run in RUNS:
        sentence = drawings.describe_pairs(language, pairs[run])
        for arm in ODCONV:
            for value in interval(differences(run, arm)):
                assert f"{abs(value):.2f}" in sentence
    narrow = RUNS[0]
    assert "0.031" in drawings.describe_pairs(language, pairs[narrow])  # 2 of 2^6 ways
    sentence = drawings.describe_gates(language, pairs[narrow])
    for arm in ODCONV:
        for gates in ("frozen", "shuffled"):
            assert f"{-statistics.fmean(differences(narrow, arm, f'right_{gates}', arm)):.2f}" in sentence
    sentence = drawings.describe_controls(language, pairs[narrow])
    for arm in CONTROLS:
        mean, low, high = interval(differences(narrow, arm, other=pairs[narrow].against_twins([arm])[0].against))
        sign = "+" if low < 0 else ""
        for value in (mean, low, high):
            assert f"{value:{sign}.2f}" in sentence
    limits = drawings.describe_limits(language, pairs[narrow])
    size = {entry["arm"]: entry for entry in entries(narrow)}
    for arm in ODCONV:
        for what in COSTS:
            assert f"{size[arm][what] / size['static'][what]:.2f}" in limits
    assert "32 px" in limits
    for run, before, epochs in ((RUNS[0], ["15"], 7), (RUNS[1], ["15"], 9), (RUNS[2], ["11"], 11)):
        assert re.findall(r"\d+", drawings.describe_start(language, pairs[run])) == before
        assert re.search(rf"\b{epochs} (epochs|轮)", drawings.describe_pairs(language, pairs[run]))


def test_what_the_readme_says_of_odconv_is_so(pairs, lines):
    text = readme()
    low, high = results.gains(lines)
    assert f"gains of {low:.1f} to {high:.1f} points of top-1" in text
    narrow, wide, scratch = (pairs[run] for run in RUNS)
    one, four = narrow.against_twins()

    def ratio(found, what):
        return f"{getattr(found, what) / narrow.static[what]:.2f}"

    assert f"gain {one.difference:.2f} points with K = 1 (95 % interval {one.low:.2f} to {one.high:.2f})" in text
    assert f"{four.difference:.2f} with K = 4 ({four.low:.2f} to {four.high:.2f})" in text
    costs = [[ratio(found, what) for what in COSTS] for found in (one, four)]
    assert (
        f"{costs[0][0]} and {costs[1][0]} times the parameters, {costs[0][1]} and {costs[1][1]} times the multiply-adds"
        in text
    )
    assert f"{narrow.plan['epochs']} more epochs with ODConv" in text
    one, four = wide.against_twins()
    assert (
        f"{one.difference:+.2f} ({one.low:.2f} to {one.high:.2f}) and {four.difference:+.2f} ({four.low:.2f} to {four.high:.2f})"
        in text
    )
    wider, more, squeezed = narrow.against_twins(["wider", "more", "se"])
    assert (
        f"as many multiply-adds as K = 4 gains {wider.difference:.2f}, one with as many parameters {more.difference:.2f}"
        in text
    )
    assert f"squeeze-and-excitation {squeezed.difference:.2f}" in text
    lost = [-found.difference for found in scratch.against_twins()]
    assert f"{scratch.plan['epochs']} epochs, where the authors train 100 and more, ODConv loses" in text
    assert f"ODConv loses {lost[0]:.2f} and {lost[1]:.2f} points" in text
    assert "gains half a point" in readme("benchmarks")
    assert "gains half a point" in readme("assets", "weights")
    assert all(0.45 < found.difference < 0.65 for found in narrow.against_twins())


def test_the_network_that_gains_hardly_moves_as_is_said():
    """Why none of the networks of the pairs is bundled."""
    card = json.loads(
        (ROOT / "benchmarks" / "results" / "od_resnet18_w16_4x_tiny_imagenet.json").read_text(encoding="utf-8")
    )
    assert (card["num_kernels"], card["width"], card["image_size"]) == (4, 16, 32)
    layers = card["measured"]["between_pictures"]["layers"].values()
    highest = {head: max(layer[head] for layer in layers) for head in HEADS}
    assert max(highest.values()) < MOVES == 0.05
    for kernels in (1, 4):
        path = ROOT / "assets" / "weights" / f"od_resnet18_w32_{kernels}x_tiny_imagenet.json"
        others = json.loads(path.read_text(encoding="utf-8"))["measured"]["between_pictures"]["layers"].values()
        for head in HEADS:
            moving = [layer[head] >= MOVES for layer in others if head in layer]
            assert not moving or sum(moving) > len(moving) / 2
    text = readme("benchmarks")
    assert (
        f"by at most {highest['spatial']:.3f}, {highest['channel']:.3f}, {highest['filter']:.3f} and {highest['kernel']:.3f}"
        in text
    )
    at = [card["measured"]["temperature"][temperature]["top1"] for temperature in ("0.5", "2")]
    assert (
        f"right in {card['measured']['top1']:.1f} %, at temperatures of 0.5 and 2 in {at[0]:.1f} and {at[1]:.1f}"
        in text
    )
    assert all(say(language, "results.still").count("0.05") == 1 for language in LANGUAGES)


# --- published ----------------------------------------------------------------------------------------------------------


def test_every_published_row_has_its_source_and_an_address_of_its_own():
    for name in ("imagenet", "coco"):
        with (published.FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert all(row["source_url"].startswith("https://github.com/OSVAI/ODConv/blob/") for row in rows)
        assert len({row["checkpoint_url"] for row in rows}) == len(rows) == {"imagenet": 18, "coco": 8}[name]


def test_a_detector_has_as_many_more_parameters_as_its_backbone():
    backbones = {(one.model, one.kernels): one.parameters_m for one in published.imagenet()}
    found = published.coco()
    for static, dynamic in zip(found[::2], found[1::2], strict=True):
        assert (static.name, static.kernels, dynamic.kernels) == (dynamic.name, None, 4)
        more = backbones[static.model, 4] - backbones[static.model, None]
        assert dynamic.parameters_m - static.parameters_m == pytest.approx(more, abs=0.0151)  # of rounded numbers
        assert dynamic.box_ap > static.box_ap
        assert (static.mask_ap is None) == (dynamic.mask_ap is None) == (static.detector == "Faster R-CNN")


@pytest.mark.parametrize("cost", COSTS)
def test_a_line_goes_from_a_static_network_to_its_odconv_networks(cost):
    lines = results.imagenet_lines(published.imagenet(), cost)
    assert [[point.kernels for point in line.points] for line in lines] == [[None, 1, 4]] * 5 + [[None, 1, 2]]
    assert lines[3] == Line(
        "ResNet18",
        (
            Point(None, {"parameters": 11.69, "multiply_adds": 1814}[cost], 70.25),
            Point(1, {"parameters": 11.94, "multiply_adds": 1838}[cost], 73.05),
            Point(4, {"parameters": 44.90, "multiply_adds": 1916}[cost], 74.19),
        ),
    )
    for line in lines:
        accuracies, costs = ([getattr(point, what) for point in line.points] for what in ("accuracy", "cost"))
        assert sorted(accuracies) == accuracies
        assert sorted(costs) == costs


def test_all_published_networks_with_odconv_gain_as_is_said(lines):
    low, high = results.gains(lines)
    every = [
        one.top1 - next(other for other in published.imagenet() if other.model == one.model).top1
        for one in published.imagenet()
        if one.kernels
    ]
    assert (low, high) == (min(every), max(every))
    assert low > 0
    assert "all 12 ODConv" in drawings.describe_published("en", lines)
    assert "by 1.40 to 5.93 points" in drawings.describe_published("en", lines)


# --- charts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cost", COSTS)
def test_the_chart_has_every_published_network_once_by_its_kind(language, cost):
    lines = results.imagenet_lines(published.imagenet(), cost)
    figure = figures.accuracy_by_cost(language, lines, cost)
    kinds = [trace for trace in figure.data if trace.showlegend is not False]
    assert [trace.name for trace in kinds] == [
        say(language, f"results.legend_{kind}") for kind in ("static", "single", "several")
    ]
    wanted = [(lambda k: k is None), (lambda k: k == 1), (lambda k: k not in (None, 1))]
    for trace, belongs in zip(kinds, wanted, strict=True):
        expected = [(getattr(one, f"{cost}_m"), one.top1) for one in published.imagenet() if belongs(one.kernels)]
        assert list(zip(trace.x, trace.y, strict=True)) == expected
        assert all(f"{top1:.2f}" in hover for (_, top1), hover in zip(expected, trace.hovertext, strict=True))
    assert list(kinds[0].text) == [line.name for line in lines]
    assert len(figure.data) == 3 + 6
    assert figure.layout.xaxis.title.text == say(language, f"results.axis_{cost}")
    low, high = figure.layout.xaxis.range
    assert all(10**low < point.cost < 10**high for line in lines for point in line.points)


def test_a_row_of_the_pairs_has_a_circle_for_each_and_the_mean_with_its_interval(pairs):
    run = RUNS[2]
    found = pairs[run].against_twins()
    rows = drawings.rows_of("en", [pairs[run]])
    assert rows == {say("en", "results.row", kernels=one.kernels): one for one in found}
    figure = figures.paired_differences("en", rows)
    *dots, mean = figure.data
    for trace, one in zip(dots, found, strict=True):
        assert list(trace.x) == pytest.approx(differences(run, one.arm), abs=1e-9)
        assert set(trace.y) == {say("en", "results.row", kernels=one.kernels)}
    assert list(mean.x) == [one.difference for one in found]
    for one, up, down in zip(found, mean.error_x.array, mean.error_x.arrayminus, strict=True):
        assert (one.difference + up, one.difference - down) == pytest.approx((one.high, one.low))
    low, high = figure.layout.xaxis.range
    assert low < min(one.low for one in found)
    assert high > 0  # the twin


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_network_of_the_pairs_has_a_row_of_its_own(pairs, language):
    narrow, wide, _ = (pairs[run] for run in RUNS)
    rows = drawings.rows_of(language, [narrow, wide])
    assert list(rows.values()) == [*narrow.against_twins(), *wide.against_twins()]
    assert all(str(width) in row for row, width in zip(rows, (16, 16, 32, 32), strict=True))
    rows = drawings.control_rows(language, narrow)
    assert list(rows.values()) == narrow.against_twins(["od4", *CONTROLS])


def test_every_text_of_both_charts_has_the_size_that_is_asked_for(pairs, lines):
    for figure in (
        figures.accuracy_by_cost("en", lines, "parameters", text_size=20),
        figures.paired_differences("en", drawings.rows_of("en", [pairs[RUNS[0]]]), text_size=20),
    ):
        layout = figure.layout
        axes = (layout.xaxis.tickfont, layout.xaxis.title.font, layout.yaxis.tickfont, layout.hoverlabel.font)
        assert {font.size for font in axes} == {20}


def test_a_name_is_text_in_plotly():
    line = Line("<b>x</b>", (Point(None, 1.0, 50.0), Point(1, 2.0, 60.0)))
    figure = figures.accuracy_by_cost("en", [line], "parameters")
    shown = [text for trace in figure.data for text in (*(trace.text or ()), *(trace.hovertext or ()))]
    assert shown
    assert not any("<b>" in text for text in shown)


def test_a_comparison_is_of_the_fields_that_the_script_writes():
    from benchmarks.pairs import report as written

    assert Comparison.__dataclass_fields__.keys() == written.Comparison.__dataclass_fields__.keys()
