"""Terms explained where a page first uses them, all of them in a fold at its foot; there, too, how to cite and what to read."""

from __future__ import annotations

from typing import Any

import streamlit as st

from odconv.glossary import find_terms, meaning, terms
from odconv.ui import parts, text
from odconv.ui.text import language, say

BIBTEX = """@inproceedings{li2022odconv,
  title     = {Omni-Dimensional Dynamic Convolution},
  author    = {Chao Li and Aojun Zhou and Anbang Yao},
  booktitle = {International Conference on Learning Representations},
  year      = {2022},
  url       = {https://openreview.net/forum?id=DmpCfq6Mg39}
}"""

READING = {  # what is named in words -> where it is
    "paper": "https://arxiv.org/abs/2209.07947",
    "code": "https://github.com/OSVAI/ODConv",
    "dyconv": "https://arxiv.org/abs/1912.03458",
    "condconv": "https://arxiv.org/abs/1904.04971",
    "squeeze": "https://arxiv.org/abs/1709.01507",
    "resnet": "https://arxiv.org/abs/1512.03385",
}


def begin() -> None:
    """Forget what was explained: every page calls it before its first text."""
    st.session_state["explained"] = {}


def explain(key: str, /, **values: Any) -> str:
    """The text ``key`` as Markdown, with the terms explained that the page uses for the first time there.

    Said again, as when a part of the page is drawn anew, the same text explains the same terms.
    """
    said = text.markdown(key, **values)
    explained: dict[str, str] = st.session_state.setdefault("explained", {})
    wanted = [term for term in terms(language()) if explained.get(term, key) == key]
    ends = find_terms(language(), said, wanted)
    for place, term in sorted(ends.items(), reverse=True):
        explained[term] = key
        said = f"{said[:place]}:help[{text.escape_markdown(meaning(language(), term))}]{said[place:]}"
    return said


@parts.part("foot_part")
def show() -> None:
    """Draw the fold at the foot of a page; what is in it is drawn when it is opened, since all that is there slows a drag."""
    written = terms(language())
    fold = st.expander(say("foot.title"), key="foot", on_change="rerun")
    if not fold.open:
        return
    with fold:
        st.markdown(f"**{say('foot.glossary')}**")
        st.caption(say("foot.counting"))
        st.markdown("\n".join(f"* **{written[term]}**: {meaning(language(), term)}" for term in sorted(written)))
        st.markdown(f"**{say('foot.cite')}**")
        st.markdown(say("foot.cite_text"))
        st.code(BIBTEX, language=None, wrap_lines=True)
        st.markdown(f"**{say('foot.reading')}**")
        st.markdown("\n".join(f"* [{say(f'reading.{name}')}]({url})" for name, url in READING.items()))
