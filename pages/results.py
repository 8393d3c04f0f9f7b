"""Does ODConv pay?"""

import streamlit as st

from odconv.ui import beginning, bootstrap, results, sidebar, view

bootstrap()
with st.sidebar:
    sidebar.choose_language()
beginning.open_title("results.question", "results.intro")
results.show()
view.write_link()
