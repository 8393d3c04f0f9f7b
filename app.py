"""ODConv Explorer. Run with ``streamlit run app.py``: once to make the server, and then for each run of a visitor's page."""

import streamlit as st
from starlette.middleware import Middleware
from streamlit.runtime.scriptrunner import get_script_run_ctx

from odconv.ui import guard, lifetime, navigation, reception, redraw, static_copies, upload_bounds

if get_script_run_ctx(suppress_warning=True) is None:
    app = st.App(
        __file__,
        routes=[*redraw.routes(), *reception.routes()],
        middleware=[
            Middleware(guard.Guard),
            Middleware(static_copies.StaticCopies),
            Middleware(upload_bounds.UploadBounds),
        ],
        lifespan=lifetime.sweeping,
    )
else:
    navigation.run()
