"""Whether a refusal can be shown to a visitor."""

from __future__ import annotations

import unicodedata

from odconv.words import LANGUAGES, SayableError

LONGEST = 1500  # characters


def check_refusal(error: Exception, secret: str | None = None) -> None:
    """Fail unless an error is one sentence, or a few, without anything that a page could not show, in every language.

    ``secret``: what it may not tell, such as where a file lies on the server.
    """
    texts = [error.say(language) for language in LANGUAGES] if isinstance(error, SayableError) else [str(error)]
    for text in texts:
        assert secret is None or secret not in text, text
        assert 0 < len(text) <= LONGEST, f"{len(text)} characters"
        assert text.endswith((".", "。", "?", "？")), text
        hidden = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")}
        assert not hidden, f"{hidden} in {text!r}"
