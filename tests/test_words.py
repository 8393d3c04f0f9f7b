"""Both languages say the same things, and every refusal can be said in each."""

import ast
import pickle
import re
from pathlib import Path
from string import Formatter

import pytest

from odconv.words import LANGUAGES, SayableError, say, texts

ROOT = Path(__file__).parents[1]


def placeholders(text):
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_every_language_has_the_same_keys_in_the_same_order():
    assert [list(texts(language)) for language in LANGUAGES] == [list(texts("en"))] * len(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_has_the_placeholders_of_the_english_one_and_is_not_empty(language):
    for key, text in texts(language).items():
        assert placeholders(text) == placeholders(texts("en")[key]), key
        assert text.strip(), key


def test_a_text_is_said_with_its_values_untouched():
    assert say("en", "network.classes", count="{x} **200**") == "The {x} **200** classes it knows"
    assert say("zh", "network.classes", count=200) == "它认识的 200 个类别"


def test_an_unknown_language_and_an_unknown_text_are_named():
    with pytest.raises(KeyError, match="tlh"):
        say("tlh", "network.classes", count=1)
    with pytest.raises(KeyError, match=r"network\.clases"):
        say("en", "network.clases")


def test_a_refusal_is_english_as_text_can_be_said_in_every_language_and_survives_a_pickle():
    error = pickle.loads(pickle.dumps(SayableError("network.classes", count=7)))
    assert str(error) == "The 7 classes it knows"
    assert error.say("zh") == "它认识的 7 个类别"


def said_in(path):
    """What keys a file of code can say: its texts, and its f-strings with anything in their gaps."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.escape(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = (re.escape(p.value) if isinstance(p, ast.Constant) else "[a-z0-9_]+" for p in node.values)
            yield "".join(parts)


def test_every_text_is_said_somewhere():
    code = [path for folder in ("odconv", "pages") for path in (ROOT / folder).rglob("*.py")]
    ways = {way for path in code for way in said_in(path) if re.match(r"[a-z_]+\\\.", way)}
    said = re.compile("|".join(ways))
    assert [key for key in texts("en") if not said.fullmatch(key)] == []
