"""The page on plugging ODConv into a CNN: the choice, what it does, how long that takes, and the lines that do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st

from odconv import drawings, plugging
from odconv.plugging import (
    BLOCK,
    CLASSES,
    KERNELS,
    MOST_CHANNELS,
    MOST_ROWS,
    NETWORKS,
    REDUCTIONS,
    ROW_CHOICES,
    SIDES,
    WHERE,
    Conversion,
    Plan,
    PluggingError,
    Row,
)
from odconv.refusal import CheckpointError
from odconv.ui import asking, components, conversions, text, view
from odconv.ui.asking import Reply
from odconv.ui.devices import BusyError
from odconv.ui.text import language, say

TIMING = "plug_timing"  # in the session: the plan that was measured last, and its timing


def show() -> None:
    """Draw the choice and its totals side by side, and below them the rows of an own network, the lines and the layers."""
    plan = view.current().plug
    with st.container(key="screen"):
        left, right = st.columns([45, 55], gap="medium")
    with left:
        _choose(plan)
    with right:
        found = _ask(plan)
        if found:
            _show_totals(plan, found)
    if plan.network == "own":
        _show_rows(plan)
    st.subheader(say("plug.lines"), anchor=False)
    with st.container(key="plug_lines"):
        st.code(plugging.pytorch_lines(language(), plan), language="python")
    if found:
        st.subheader(say("plug.table"), anchor=False)
        components.plugged(drawings.layers_data(language(), found))


def _ask(plan: Plan) -> Conversion | None:
    """What ``plan`` does; None, with a sentence on the page, where that is not to be had."""
    try:
        with st.spinner(say("plug.converting")):
            return conversions.plug_in(plan)
    except BusyError as error:
        asking.show_busy(Reply(None, error), "plug")
    except (PluggingError, CheckpointError) as error:
        st.warning(text.refusal(error))
    return None


def _change(**fields: Any) -> None:
    view.change(plug=replace(view.current().plug, **fields))


# --- the choice ---------------------------------------------------------------------------------------------------------


def _choose(plan: Plan) -> None:
    view.bind(
        st.selectbox,
        say("plug.network"),
        key="plug_network",
        value=plan.network,
        then=lambda network: _change(network=network),
        options={network: say(f"plug.network_{network}") for network in NETWORKS},
    )
    with st.container(key="plug_numbers", horizontal=True, gap="small"):
        view.bind(
            st.segmented_control,
            say("plug.kernels"),
            key="plug_kernels",
            value=plan.num_kernels,
            then=lambda count: _change(num_kernels=count),
            options={count: str(count) for count in KERNELS},
            required=True,
        )
        view.bind(
            st.segmented_control,
            say("plug.reduction"),
            key="plug_reduction",
            value=plan.reduction,
            then=lambda reduction: _change(reduction=reduction),
            options={reduction: f"1/{reduction}" for reduction in REDUCTIONS},
            required=True,
            help=say("plug.reduction_help"),
        )
    if plan.network != "block":
        view.bind(
            st.selectbox,
            say("plug.where"),
            key="plug_where",
            value=plan.where,
            then=lambda where: _change(where=where),
            options={where: say(f"plug.where_{where}") for where in WHERE},
            help=say("plug.where_help"),
        )
    st.button(say("setting.reset"), key="plug_reset", on_click=lambda: view.change(plug=Plan()))


# --- the rows of an own network -----------------------------------------------------------------------------------------


def _show_rows(plan: Plan) -> None:
    with st.container(key="plug_rows"):
        st.subheader(say("plug.rows"), anchor=False)
        st.caption(say("plug.rows_note", classes=CLASSES))
        view.bind(
            st.number_input,
            say("plug.side"),
            key="plug_side",
            value=plan.side,
            then=_choose_side,
            min_value=SIDES[0],
            max_value=SIDES[1],
            step=16,
            width=120,
        )
        for position, channels in enumerate(plugging.channels_into(plan.rows)):
            _show_row(plan.rows, position, channels)
        with st.container(horizontal=True, gap="small"):
            if len(plan.rows) < MOST_ROWS:
                st.button(say("plug.add"), key="plug_add", icon=":material/add:", on_click=_add)
            if len(plan.rows) > 1:
                st.button(say("plug.remove"), key="plug_remove", icon=":material/remove:", on_click=_remove)


def _show_row(rows: tuple[Row, ...], position: int, channels: int) -> None:
    """Draw the widgets of one row. ``channels``: how many it gets."""
    row = rows[position]
    with st.container(key=f"plug_row_{position}", horizontal=True, gap="small"):
        view.bind(
            st.number_input,
            say("plug.row_channels", row=position + 1),
            key=f"plug_channels_{position}",
            value=channels if row.depthwise else row.channels,
            then=_changer(position, "channels"),
            min_value=1,
            max_value=MOST_CHANNELS,
            step=1,
            disabled=row.depthwise,
            width=120,
        )
        groups = {False: say("plug.ordinary"), True: say("plug.depthwise")}
        for field, allowed in ROW_CHOICES.items():
            labels = groups if field == "depthwise" else {value: str(value) for value in allowed}
            view.bind(
                st.selectbox,
                say("plug.row_groups" if field == "depthwise" else f"plug.row_{field}"),
                key=f"plug_{field}_{position}",
                value=getattr(row, field),
                then=_changer(position, field),
                options=labels,
                width=140 if field == "depthwise" else 88,
            )


def _changer(position: int, field: str) -> Callable[[object], None]:
    def change(value: object) -> None:
        rows = list(view.current().plug.rows)
        if type(value) not in (int, bool) or position >= len(rows):
            return
        try:
            rows[position] = replace(rows[position], **{field: value})  # type: ignore[arg-type]
        except ValueError:  # a browser can send anything
            return
        _change(rows=tuple(rows))

    return change


def _choose_side(side: object) -> None:
    if type(side) is int and SIDES[0] <= side <= SIDES[1]:
        _change(side=side)


def _add() -> None:
    """Another row like the last one."""
    rows = view.current().plug.rows
    _change(rows=(*rows, rows[-1])[:MOST_ROWS])


def _remove() -> None:
    _change(rows=view.current().plug.rows[:-1] or view.current().plug.rows)


# --- what it does -------------------------------------------------------------------------------------------------------


def _show_totals(plan: Plan, found: Conversion) -> None:
    measured, timing = st.session_state.get(TIMING, (None, None))
    timing = timing if measured == plan.simplest else None
    components.totals(drawings.totals_data(language(), found, timing))
    if st.button(say("plug.again" if timing else "plug.measure"), key="plug_measure", icon=":material/timer:"):
        _measure(plan)
    if timing:
        st.caption(say("plug.measured", threads=timing.threads, pairs=timing.pairs))
    if plan.network == "block":
        kernels = say("plug.block_one") if plan.num_kernels == 1 else say("plug.block_kernels", count=plan.num_kernels)
        st.caption(say("plug.block_note", taps=BLOCK["kernel_size"] ** 2, kernels=kernels))


def _measure(plan: Plan) -> None:
    """Measure, and run the page again, which shows it; where others keep the CPU, say so."""
    try:
        with st.spinner(say("plug.measuring")):
            st.session_state[TIMING] = (plan.simplest, conversions.time_passes(plan))
    except BusyError as error:
        asking.show_busy(Reply(None, error), "plug")
    else:
        st.rerun()
