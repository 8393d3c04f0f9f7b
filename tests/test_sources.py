"""Which pictures are looked into: what a click, a source or a switch does to them."""

import pytest
from streamlit.testing.v1 import AppTest


def page(seed):
    """Act at random, and say what does not hold."""
    import random

    import streamlit as st
    from PIL import Image

    from odconv.stimuli import STIMULI
    from odconv.ui import link, sources, uploads, view
    from odconv.ui.pictures import Picture, samples
    from odconv.ui.sources import Member

    offer, draw = link.Offer(["a.pth"], list(samples())), random.Random(seed)
    st.session_state["view"] = link.View()

    def state():
        chosen = view.current()
        return sources.members(chosen), sources.shown_member(chosen) if sources.members(chosen) else None

    def upload(source, count):
        ids = [f"{source}-{draw.randrange(12)}" for _ in range(count)]
        own = uploads.own_pictures(source)
        own.update({id: Picture(id, id, id, Image.new("RGB", (9, 9))) for id in ids})
        for id in [id for id in own if id not in ids][: max(0, len(own) - link.MOST_PICTURES)]:
            own.pop(id)
        sources._add([Member(source, id) for id in dict.fromkeys(ids)])
        return list(dict.fromkeys(ids))

    for _ in range(60):
        before, shown = state()
        comparing, source = sources.is_comparing(view.current()), view.current().source
        act = draw.choice(["source", "compare", "pick", "pick", "pick", "out", "look", "upload"])
        if act == "source":
            offered = draw.choice(link.SOURCES)
            sources._show_source(offered)
            assert view.current().source == offered
            if comparing and before:
                assert state() == (before, shown), "another source dropped or added a picture"
            else:
                assert {member.source for member in state()[0]} <= {offered}
        elif act == "compare":
            on = draw.random() < 0.7
            sources._switch_comparing(on, view.current())
            assert state()[1] == shown
            assert state()[0] == (before if on else before and [shown])
            if not on and before:
                assert not sources.is_comparing(view.current())
                assert view.current().source == shown.source
        elif act == "pick":
            id = draw.choice([*list(samples())[:10], *STIMULI, *uploads.own_pictures(source), "nothing"])
            picked = Member(source, id)
            sources._pick(id, view.current())
            after, now = state()
            if id not in sources._available(view.current()):
                assert (after, now) == (before, shown)
            elif picked in before:
                gone = comparing and len(before) > 1
                assert after == [member for member in before if not (gone and member == picked)]
            else:
                assert picked in after
                assert now == picked
                assert set(after) <= {*before, picked}
                if not comparing:
                    assert after == [picked]
                elif source != "stimuli" and len(before) < link.MOST_PICTURES:
                    assert set(after) == {*before, picked}
        elif act == "out" and before:
            out = draw.choice(before)
            sources.take_out(out)
            after, now = state()
            assert after == ([member for member in before if member != out] or before)
            assert now == shown or shown not in after
        elif act == "look" and before:
            wanted = draw.choice(before)
            sources.look_at(wanted)
            assert state() == (before, wanted)
        elif act == "upload" and source in ("upload", "camera"):
            ids = upload(source, draw.choice([1, 1, 3]) if source == "upload" else 1)
            assert state()[1] == Member(source, ids[0])
            assert {Member(source, id) for id in ids} <= set(state()[0])
        after, _ = state()
        assert len(set(after)) == len(after) <= link.MOST_PICTURES
        assert sum(member.source == "stimuli" for member in after) <= 1
        assert after or view.current().source in ("upload", "camera")
        assert link.from_query(link.to_query(view.current()), offer) == (view.current(), [])
    st.text("held")


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_done_the_pictures_are_those_that_were_chosen(seed):
    app = AppTest.from_function(page, kwargs={"seed": seed}, default_timeout=60).run()
    assert not app.exception, app.exception[0].stack_trace
    assert [text.value for text in app.text] == ["held"]


def looked_into(**fields):
    def page(fields):
        import streamlit as st

        from odconv.ui import sources
        from odconv.ui.link import View

        st.text([member.key for member in sources.members(View(**fields))])

    app = AppTest.from_function(page, kwargs={"fields": fields}).run()
    assert not app.exception
    return app.text[0].value


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({}, ["samples:espresso"]),
        ({"samples": ("rocket", "dahlia")}, ["samples:rocket", "samples:dahlia"]),
        ({"source": "stimuli", "samples": ("rocket", "dahlia")}, ["stimuli:grating"]),
        ({"source": "upload", "samples": ("rocket",), "compare": True}, []),
        ({"compared": ("stimuli", "samples"), "samples": ("rocket",)}, ["samples:rocket", "stimuli:grating"]),
        ({"source": "stimuli", "compared": ("upload",)}, ["stimuli:grating"]),
    ],
    ids=str,
)
def test_links_from_before_mean_what_they_meant_and_new_ones_name_their_sources(fields, keys):
    assert looked_into(**fields) == str(keys)


def own_page():
    """A page looks into pictures of its own, and the visitor has chosen none yet."""
    from dataclasses import replace

    import streamlit as st

    from odconv.ui import link, sources, view

    def picked(id, *own):
        st.session_state["view"] = link.View()
        sources._pick(id, replace(link.View(), samples=own, compare=len(own) > 1))
        return [member.id for member in sources.members(view.current())]

    assert picked("espresso", "tabby-cat") == ["espresso"]
    assert picked("rocket", "tabby-cat") == ["rocket"]
    assert picked("tabby-cat", "tabby-cat") == ["tabby-cat"]
    assert picked("raccoon", "espresso", "rocket") == ["espresso", "rocket", "raccoon"]
    assert picked("espresso", "espresso", "rocket") == ["rocket"]


def test_a_click_on_a_page_with_pictures_of_its_own_starts_from_those():
    assert not AppTest.from_function(own_page).run().exception


def read_files():
    """The same files come twice: they are read and dropped, and gone the second time."""
    from io import BytesIO

    import streamlit as st
    from PIL import Image
    from streamlit.runtime.uploaded_file_manager import DeletedFile

    from odconv.ui import link, uploads

    class File(BytesIO):
        name, file_id = "mine.png", "1"

    st.session_state["view"] = link.View()
    st.session_state["upload-round"] = 0
    new, file = [], File()
    Image.new("RGB", (9, 9)).save(file, "PNG")
    uploads._add_files("upload", [file], new.append)
    uploads._add_files("upload", [DeletedFile("1")], new.append)
    assert [len(ids) for ids in new] == [1]
    assert list(uploads.own_pictures("upload")) == new[0]
    assert st.session_state["upload-round"] == 1

    other = File()
    Image.new("RGB", (9, 9), "red").save(other, "PNG")
    uploads._add_files("upload", [DeletedFile("1"), other], new.append)
    assert list(uploads.own_pictures("upload")) == [*new[0], *new[1]]


def test_a_file_that_comes_again_after_it_was_read_is_left_alone():
    assert not AppTest.from_function(read_files).run().exception
