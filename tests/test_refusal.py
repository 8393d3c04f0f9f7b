"""Names from files are shown as they are, but for what hides or misleads, and never longer than is asked."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from odconv.refusal import join_names, printable


def test_an_ordinary_name_is_shown_as_it_is():
    for name in ("layer1.0.conv1.weight", "Größe", "猫", "ma\u0301", "می‌خواهم", "a*b_[c](d)<e>"):
        assert printable(name) == name


@given(st.text(st.characters(exclude_categories=[])), st.integers(1, 20))
def test_what_is_shown_is_text_without_control_characters_and_no_longer_than_asked(text, most):
    shown = printable(text, most)
    shown.encode("utf-8")
    assert len(shown) == min(len(text), most)
    for character in shown:
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in {
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        }


def test_of_many_names_the_first_are_join_names_and_the_others_counted():
    assert join_names(["a", "b\n"]) == "a, b�"
    assert join_names([str(i) for i in range(8)]) == "0, 1, 2, 3, 4, … (+3)"
