"""What does ODConv make of my CNN?"""

import streamlit as st

from odconv.ui import beginning, bootstrap, plugging, sidebar, view

bootstrap()
with st.sidebar:
    sidebar.choose_language()
beginning.open_title("plug.question", "plug.intro")
plugging.show()
view.write_link()
