"""ODConv Explorer. Run with ``streamlit run app.py``: once to make the server, and then for each run of a visitor's page."""

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from odconv.ui import lifetime, navigation, reception, redraw

if get_script_run_ctx(suppress_warning=True) is None:
    app = st.App(__file__, routes=[*redraw.routes(), *reception.routes()], lifespan=lifetime.sweeping)
else:
    navigation.run()
