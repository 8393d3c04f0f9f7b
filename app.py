"""ODConv Explorer: its pages. Run with ``streamlit run app.py``."""

import streamlit as st

# No file in pages/ has the name of the default page. So when a browser comes back to a server that was started again,
# Streamlit runs this file, and not the page's file alone at an address of its own.
st.navigation([st.Page("pages/explore.py", title="Explore", url_path="home", default=True)], position="hidden").run()
