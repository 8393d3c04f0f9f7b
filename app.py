"""ODConv Explorer: its pages. Run with ``streamlit run app.py``."""

from odconv.ui import navigation

navigation.run()
