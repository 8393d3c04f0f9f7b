"""What once failed, or was made to harm, is met with a result or a refusal. ``python -m tests.fuzz`` tries more of the kind."""

from importlib import import_module

import pytest

from tests.fuzz import CORPUS, TARGETS, corpus

MOST = 64 * 2**10  # bytes of a file in the corpus


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("target", "name"), [(target, name) for target in TARGETS for name in corpus(target)])
def test_what_was_made_to_harm_gives_a_result_or_a_refusal(target, name):
    import_module(f"tests.fuzz.{target}").check(corpus(target)[name])


def test_the_corpus_is_small_and_every_target_has_one():
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    assert all(len(corpus(target)) > 0 for target in TARGETS)
    assert all(len(data) <= MOST for target in TARGETS for data in corpus(target).values())
