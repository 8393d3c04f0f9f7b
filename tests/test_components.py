"""What components hand on of what a browser sends."""

import pytest

from odconv.ui import components


@pytest.mark.parametrize("sent", [None, True, 3, 2.5, [], ["rocket"], {}, {"id": "rocket"}], ids=str)
def test_what_cannot_be_a_name_is_logged_and_not_handed_on(monkeypatch, caplog, sent):
    taken = []
    monkeypatch.setattr(components, "_sent", lambda key, name: sent)
    components._pass_text("gallery", "picked", taken.append)
    assert taken == []
    assert "gallery: ignored" in caplog.text


def test_a_name_is_handed_on_as_it_came(monkeypatch):
    taken = []
    monkeypatch.setattr(components, "_sent", lambda key, name: "rocket")
    components._pass_text("gallery", "picked", taken.append)
    assert taken == ["rocket"]
