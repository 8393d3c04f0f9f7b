"""Terms are found where a text first uses them, and every term is explained in every language."""

import pytest

from odconv.glossary import find_terms, meaning, terms
from odconv.words import LANGUAGES, texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_term_has_a_meaning_of_its_own(language):
    meanings = [meaning(language, term) for term in terms(language)]
    assert len(set(meanings)) == len(meanings) > 15
    assert {key.partition(".")[2] for key in texts(language) if key.startswith("meaning.")} == set(terms(language))


def marked(text, wanted, language="en"):
    for place, term in sorted(find_terms(language, text, wanted).items(), reverse=True):
        text = f"{text[:place]}[{term}]{text[place:]}"
    return text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A gate, then gates.", "A gate[gate], then gates."),
        ("**Logits** are divided.", "**Logits**[logit] are divided."),
        ("Investigate a gateway.", "Investigate a gateway."),
        ("Candidate kernels share.", "Candidate kernels[candidate] share[share]."),
        ("Effective kernels of a forged kernel", "Effective kernels[effective] of a forged kernel[forged]"),
    ],
)
def test_the_first_use_of_a_whole_word_is_found(text, expected):
    assert marked(text, terms("en")) == expected


def test_chinese_terms_are_found_without_spaces_and_the_longest_first():
    assert marked("有效卷积核与温度。", terms("zh"), "zh") == "有效卷积核[effective]与温度[temperature]。"


def test_a_term_that_is_not_wanted_is_left_and_takes_its_place():
    assert marked("A gate and a tap.", {"tap"}) == "A gate and a tap[tap]."
