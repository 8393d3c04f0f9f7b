"""Terms on pages: each is explained once, where the page first uses it, and again when that part is drawn again."""

import pytest

from odconv.glossary import meaning, terms
from odconv.ui.glossary import BIBTEX, READING
from odconv.ui.text import escape_markdown
from tests.pages.test_explore import _fresh_caches, opened  # noqa: F401


def explained(app, language="en"):
    said = " ".join(block.value for block in app.markdown)
    counts = {term: said.count(f":help[{escape_markdown(meaning(language, term))}]") for term in terms(language)}
    return {term: count for term, count in counts.items() if count}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("page", ["explore", "start", "temperature"])
def test_a_term_is_explained_once_on_a_page_and_again_when_the_page_runs_again(page, language):
    app = opened(page=page, lang=language)
    assert not app.exception
    first = explained(app, language)
    assert first
    assert set(first.values()) == {1}
    assert explained(app.run(), language) == first


def test_the_foot_has_every_term_how_to_cite_and_what_to_read():
    app = opened()
    app.session_state["foot"] = True
    app.run()
    foot = " ".join(block.value for block in app.markdown)
    assert all(meaning("en", term) in foot for term in terms("en"))
    assert all(url in foot for url in READING.values())
    assert BIBTEX in [block.value for block in app.code]
