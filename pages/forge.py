"""How is the kernel made that meets my picture?"""

import streamlit as st

from odconv.ui import bootstrap, forging, sidebar, sources, text, view
from odconv.ui.text import say

bootstrap()
with st.sidebar:
    sidebar.choose_language()
    engine = sidebar.choose_engine(view.current())
    if engine:
        sidebar.describe(engine)

st.header(say("forging.question"), anchor=False)
st.markdown(say("forging.intro"))
if unknown := view.ignored():
    st.info(text.markdown("page.bad_link", names=", ".join(unknown)))
with st.container(key="pictures"):
    pictures = sources.choose(view.current(), engine.checkpoint.card.resize) if engine else []
if engine and not pictures:
    st.info(sources.prompt(view.current()))
if engine and pictures:
    if engine.checkpoint.dynamic:
        forging.show(engine, pictures)
    else:
        st.info(say("page.static"))
view.write_link()
