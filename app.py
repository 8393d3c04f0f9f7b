"""ODConv Explorer: page config and navigation. Run with ``streamlit run app.py``."""

import streamlit as st

from odconv.ui import bootstrap

bootstrap()
st.navigation([st.Page("pages/explore.py", title="Explore", url_path="explore", default=True)], position="hidden").run()
