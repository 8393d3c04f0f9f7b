"""What does every layer attend to in my picture?"""

import streamlit as st

from odconv.ui import bootstrap, compare, sidebar, sources, stage, takeaway, view

bootstrap()
st.header("What does every layer attend to?", anchor=False)
st.markdown(
    "An **omni-dimensional dynamic convolution** computes its kernel anew for each picture. Four attentions weight it: "
    "over the kernel's taps (**spatial**), the input channels (**channel**), the output channels (**filter**) and the "
    "candidate kernels (**kernel**)."
)

with st.sidebar:
    st.subheader("Picture", anchor=False)
    source = st.container()
    st.subheader("Network", anchor=False)
    engine = sidebar.choose_engine(view.current())
    with source:
        pictures = sources.choose(view.current(), engine.checkpoint.card.image_size if engine else 64)
    if engine:
        sidebar.describe(engine)

for sentence in view.notices():
    st.info(sentence)
if not engine:
    st.stop()
if not pictures:
    st.info(sources.asked(view.current()))
    st.stop()

stage.show(engine, pictures)
if len(pictures) > 1:
    compare.show(engine, pictures)
takeaway.show(engine, pictures)
view.write_link()
