"""The study without a browser: either way through it, that both have the same text, and that nothing is kept."""

import csv
import io

import pytest

from odconv import study
from odconv.start import STEPS
from odconv.study import ARMS, QUESTIONS
from odconv.tasks import TASKS
from odconv.ui import components
from odconv.ui import study as page
from odconv.words import say
from tests.pages.test_explore import _fresh_caches, headings, opened, sentences  # noqa: F401

SEEDS = {arm: next(seed for seed in range(99) if study.Study(seed).arm == arm) for arm in ARMS}


@pytest.fixture
def told():
    """Step -> what its answer's drawing says, verdict apart."""
    drawn = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "task", lambda data, *, key: drawn.update({key: (data["rows"], data["why"])}))
        yield drawn


@pytest.fixture
def seed():
    """Sets the seed of the next study."""
    with pytest.MonkeyPatch.context() as patch:
        yield lambda number: patch.setattr(page.secrets, "randbits", lambda bits: number)


def begun(**query):
    return opened(page="study", **query).button(key="study-begin").click().run()


def answer_all(app, phase):
    for at in range(1, len(QUESTIONS) + 1):
        assert say("en", f"study.{phase}", at=at, count=len(QUESTIONS)) in headings(app)
        id = app.radio[0].key.removeprefix(f"quiz-{phase}-")
        app.radio[0].set_value(QUESTIONS[id].right).run()
        app.button(key="study-give").click().run()
        assert not app.exception
    return app


def walk(app, predict):
    """Through the path; of each step the texts, its summary too."""
    said = []
    for at, step in enumerate(STEPS, 1):
        if predict:
            app.button_group(key=f"task-{step}").set_value(next(iter(answers_of(app, step)))).run()
        assert not app.exception
        assert say("en", "start.of", step=at, count=5, name=say("en", f"start.{step}")) in headings(app)
        said.append(([block.value for block in app.main.markdown], headings(app)))
        if at < len(STEPS):
            app.button(key="step-next").click().run()
    return said


def answers_of(app, step):
    options = app.button_group(key=f"task-{step}").options
    return [id for id, answer in TASKS[step].answers.items() if answer.say("en") in options]


@pytest.fixture
def files():
    """What the download buttons that are drawn build when they are clicked."""
    offered = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            page.st, "download_button", lambda label, build, *more, **others: offered.append((build, more[0]))
        )
        yield offered


def test_both_ways_lead_through_the_same_text_to_a_file_that_says_what_was_answered(told, seed, files):
    said, why = {}, {}
    for arm in ARMS:
        seed(SEEDS[arm])
        told.clear()
        app = answer_all(begun(), "before")
        said[arm] = walk(app, predict=arm == "interactive")
        why[arm] = dict(told)
        assert ("task-twin" in {group.key for group in app.get("button_group")}) == (arm == "interactive")
        answer_all(app.button(key="study-on").click().run(), "after")
        done = app.session_state["study"]
        assert (done.stage, done.arm, done.predicted) == ("done", arm, 5 if arm == "interactive" else 0)
        build, name = files[-1]
        rows = list(csv.DictReader(io.StringIO(build().decode())))  # here, where there is no session, as in the server
        assert name == f"study-{SEEDS[arm]}.csv"
        assert {(row["arm"], row["seed"], row["language"]) for row in rows} == {(arm, str(SEEDS[arm]), "en")}
        assert [(row["question"], row["answer"]) for row in rows] == [*done.before, *done.after]
        counts = say("en", "study.counts", before=8, after=8, count=8)
        assert counts in [block.value for block in app.markdown]
        app.button(key="study-leave").click().run()
        assert not app.exception
        assert "study" not in app.session_state
        assert dict(app.query_params) == {}
    assert said["interactive"] == said["reading"]
    assert why["interactive"] == why["reading"]
    assert len(why["reading"]) == 5


def test_nothing_is_given_before_an_answer_is_marked_and_no_answer_is_in_the_address(seed):
    seed(SEEDS["interactive"])
    app = begun(sample="dahlia", t="3", lang="zh")
    first = app.radio[0].key
    app.button(key="study-give").click().run()
    assert app.radio[0].key == first
    app.radio[0].set_value(study.UNKNOWN).run()
    app.button(key="study-give").click().run()
    assert app.radio[0].key != first
    assert set(app.query_params) == {"lang", "controls"}  # pictures and settings are each step's own


def test_what_terms_mean_is_not_told_where_it_is_asked():
    app = begun()
    assert not app.exception
    assert [block.value for block in app.main.markdown if "help[" in block.value] == []
    assert [fold.label for fold in app.expander] == []


def test_a_path_that_was_left_by_back_is_the_studys_own_again(seed):
    seed(SEEDS["reading"])
    app = answer_all(begun(), "before")
    app.query_params.clear()
    app.query_params.update({"sample": "dahlia", "steps": "twin", "step": "1"})
    app.run()
    assert not app.exception
    assert say("en", "start.of", step=1, count=5, name=say("en", "start.kernels")) in headings(app)
    assert app.query_params["reveal"] == "always"
