"""The benchmark of a class: its visitors act as browsers do, and a number that is not a visitor's is found."""

import asyncio
import importlib
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.classroom.deployment import serve
from benchmarks.classroom.views import Asked, check
from odconv.checkpoint import load_checkpoint
from odconv.ui import engine
from odconv.ui.dials import STOPS
from tests.browser.server import ROOT
from tests.loops import finish

benchmark = importlib.import_module("benchmarks.class")  # its name is a keyword
Measured, Member = benchmark.Measured, benchmark.Member
NETWORK = engine.BUNDLED / engine.LESSONS
ROWS = list(benchmark.ROWS)
BLOCK = re.compile("<!-- class -->(.*?)<!-- end -->", re.DOTALL)


async def two_visits(url, measured, actions):
    """Two visitors at once, who do these things of a class."""
    with ThreadPoolExecutor(4) as threads:
        members = [Member(number, url, threads, measured) for number in range(2)]

        async def visit(member):
            await member.open()
            for action in actions:
                await member.act(action)
            measured.visitors[member.visitor.cookies.get("odconv-process")] += 1
            await member.visitor.close()

        await asyncio.gather(*map(visit, members))
    return {name: photo for member in members for name, photo in member.photos.items()}


@pytest.fixture(scope="module")
def visited(tmp_path_factory):
    """What two visitors were shown, and their photos."""
    measured = Measured()
    with serve(tmp_path_factory.mktemp("class"), 1, NETWORK.name) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "DRAG", 0.3)
        photos = finish(two_visits(server.url, measured, ("drag", "layer", "photo", "drag", "picture")))
    benchmark.read_log(server.log, measured.errors)
    return measured, photos


def test_visitors_do_all_that_is_measured_and_see_what_a_serial_pass_gives(visited):
    measured, photos = visited
    assert measured.errors == {}
    assert set(measured.waits) == set(ROWS) - {"open"}  # which was not noted here
    assert len(measured.waits["release"]) == len(measured.rates) == 4
    seen = {(view.figure, view.asked.picture in photos, bool(view.asked.layer)) for view in measured.views}
    assert {figure for figure, _, _ in seen} == {"photo", "prediction", "glance", "layer"}
    assert ("layer", True, True) in seen
    assert len({view.asked.temperature for view in measured.views}) > 3  # steps of drags, too
    assert benchmark.check([measured], photos, NETWORK) == []


def test_visitors_at_two_processes_each_stay_with_their_own_and_all_processes_count(tmp_path):
    measured = Measured()
    with serve(tmp_path, 2, NETWORK.name) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "DRAG", 0.3)
        before = server.processor_seconds()
        photos = finish(two_visits(server.url, measured, ("photo", "drag")))
        assert server.processor_seconds() - before > 0.1
        sizes = [resident(pid) for pid in re.findall(r"is process (\d+) at port", server.log.read_text())]
        assert server.resident_megabytes() == pytest.approx(sum(sizes), rel=0.05)
    benchmark.read_log(server.log, measured.errors)
    assert measured.errors == {}  # a photo that came to the other process would be one
    assert sorted(measured.visitors.values()) == [1, 1]
    assert len(measured.waits["release"]) == len(measured.waits["photo"]) == 2
    assert benchmark.check([measured], photos, NETWORK) == []


def resident(pid):
    """MiB, as Linux tells people."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def test_a_process_that_ended_is_an_error(tmp_path):
    log, errors = tmp_path / "log", Counter()
    log.write_text("serve: app1 is process 7 at port 8\nserve: app1 ended with code -9 and is started again\n")
    benchmark.read_log(log, errors)
    assert errors == {"server: serve: app1 ended with code -9 and is started again": 1}


# --- wrong numbers ---------------------------------------------------------------------------------------------------------


@cache
def network():
    return load_checkpoint(NETWORK)


def found(view, photos):
    return [one.view for one in check(Counter([view]), photos, network())]


def test_a_wrong_number_and_the_figures_of_somebody_else_are_found(visited):
    measured, photos = visited
    pictures = {id: file.read_bytes() for id, file in benchmark.SAMPLES.items()} | photos
    views = {
        view.figure: view for view in measured.views if view.asked.picture in photos and view.asked.temperature != 1
    }
    for view in views.values():
        assert found(view, pictures) == []
        numbers = np.frombuffer(view.numbers).copy()
        numbers[len(numbers) // 2] += 0.0001
        other = next(name for name in photos if name != view.asked.picture)
        place = STOPS.index(view.asked.temperature)
        neighbour = STOPS[place + 1 if place + 1 < len(STOPS) else place - 1]
        for wrong in (
            view._replace(numbers=numbers.tobytes()),
            view._replace(numbers=view.numbers[:-8]),
            view._replace(asked=view.asked._replace(picture=other)),
            view._replace(asked=view.asked._replace(temperature=neighbour)),
            view._replace(asked=view.asked._replace(kernels=1)),
        ):
            assert found(wrong, pictures) == [wrong]
    photo = next(view for view in measured.views if view.figure == "photo")
    assert found(photo, pictures) == []
    for picture in (next(name for name in pictures if name != photo.asked.picture), "none"):
        wrong = photo._replace(asked=Asked(picture))
        assert found(wrong, pictures) == [wrong]


def test_an_error_is_counted_and_the_page_is_opened_anew():
    measured = Measured()

    async def visit_nobody():
        with ThreadPoolExecutor(1) as threads:
            member = Member(0, "http://127.0.0.1:1/", threads, measured)
            await member._do("layer", member.choose_layer)

    finish(visit_nobody())
    assert sorted(error.partition(":")[0] for error in measured.errors) == ["layer", "open"]
    assert not measured.waits


def good(**changes):
    """What a class within all floors would have met with, but for ``changes``."""
    waits = {row: [1.0] * 20 for row in ROWS}
    memory = [(float(second), 500.0) for second in range(300)]
    return Measured(**{"waits": waits, "rates": [2.0, 9.0], "memory": memory, "seconds": 300.0} | changes)


def test_a_class_within_all_floors_misses_none():
    assert benchmark.missed(good(), good(), []) == []
    slower = good(waits={row: [5.0] * 20 for row in ROWS})
    assert benchmark.missed(good(), slower, []) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"errors": Counter({"layer: LostError": 2})}, "2 x layer: LostError"),
        ({"waits": {row: [6.1 if row == "release" else 1.0] * 20 for row in ROWS}}, "6.1 times as long"),
        ({"waits": {row: [5.1 if row == "open" else 1.0] * 20 for row in ROWS}}, "opening takes 5.1 s"),
        ({"waits": {row: [1.0] * 20 for row in ROWS if row != "photo"}}, "nothing of: a photo"),
        ({"rates": [1.9, 9.0]}, "1 of 2 drags"),
        ({"memory": [(float(second), 500 + second / 6) for second in range(300)]}, "memory grew"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_each_floor_can_be_missed(changes, said):
    (sentence,) = benchmark.missed(good(), good(**changes), [])
    assert said in sentence


def test_a_figure_that_nobody_should_have_been_shown_misses_a_floor(visited):
    measured, _ = visited
    view = next(iter(measured.views))
    wrong = benchmark.Wrong(view, 3, "another picture")
    (sentence,) = benchmark.missed(good(), good(), [wrong])
    assert sentence.startswith("3 figures")
    assert "3 of " in benchmark.report(good(), good(views=measured.views), [wrong], "here")


def test_the_report_says_how_many_visitors_each_of_several_processes_had():
    split = good(visitors=Counter({"a cookie": 12, "another": 18}))
    assert "visitors at each process: 12, 18" in benchmark.report(good(), split, [], "here")
    assert "visitors at each process" not in benchmark.report(good(), good(), [], "here")


def test_memory_is_averaged_over_whole_minutes():
    memory = [(float(second), 100.0 if second < 60 else 200.0) for second in range(130)]
    assert benchmark.by_minute(memory) == [100, 200]


def test_the_table_is_put_between_its_marks_and_the_document_has_a_place_for_it(tmp_path):
    text = benchmark.report(good(), good(), [], "2 cores, 30 visitors")
    document = tmp_path / "scaling.md"
    document.write_text(benchmark.TABLE.read_text(encoding="utf-8"), encoding="utf-8")
    before, after = BLOCK.split(document.read_text(encoding="utf-8"))[::2]
    for _ in range(2):
        benchmark.write_table(document, text)
        assert document.read_text(encoding="utf-8") == f"{before}<!-- class -->\n{text}\n<!-- end -->{after}"


def test_the_documents_table_is_one_that_the_benchmark_has_written():
    table = BLOCK.search(benchmark.TABLE.read_text(encoding="utf-8"))[1].strip()
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert {len(row) for row in rows[1:]} == {9}
    assert [row[0] for row in rows[1:]] == list(benchmark.ROWS.values())
    for _, *cells in rows[1:]:
        alone, together = float(cells[1].removesuffix(" s")), float(cells[4].removesuffix(" s"))
        assert float(cells[-1]) == pytest.approx(together / alone, rel=0.15)
    assert "errors: 0" in table
    assert re.search(r"cross-talk: 0 of [\d,]+ figures", table)
    assert ROOT.joinpath("benchmarks", "class.py").exists()


def test_what_the_document_concludes_follows_from_its_table():
    text = benchmark.TABLE.read_text(encoding="utf-8")
    table, words = BLOCK.search(text)[1], " ".join(text.split())
    actions, seconds = re.search(r"class: ([\d,]+) actions in (\d+) s", table).groups()
    busy = float(re.search(r"class: .* the server took ([\d.]+) s a second", table)[1])
    cost = busy / 30  # cores that a visitor takes
    answered = int(actions.replace(",", "")) / int(seconds)
    sources = int(re.search(r"another source of pictures .*?\| (\d+) \| [\d.]+ \| [\d.]+ \|$", table, re.MULTILINE)[1])
    assert f"answered {answered:.1f} actions a second, {sources / int(seconds):.1f} of which only turned" in words
    assert f"{cost:.2f} s of a core" in words
    assert (round(1 / cost), round(busy, 1), round(300 * cost)) == (21, 1.4, 14)
    assert "full with twenty-one, thirty fill 1.4 and 300 fourteen" in words
    memory = int(re.search(r"by minute: .*?(\d+)$", table, re.MULTILINE)[1]) * 2**20
    assert f"{memory / 1e9:.1f} GB for thirty" in words
    assert f"{memory / 2e9:.1f} GB with fifteen visitors" in words
