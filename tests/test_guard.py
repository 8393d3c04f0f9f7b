"""Whom the server answers, and what it tells browsers about its pages."""

import tomllib
from pathlib import Path

import pytest
import streamlit as st
from starlette.responses import PlainTextResponse
from streamlit.web.server.starlette.starlette_websocket import _is_origin_allowed

from odconv.ui.guard import EMBED, Guard, is_host_allowed, is_origin_allowed, page_headers, read_sites
from tests.asgi import ask

ROOT = Path(__file__).parents[1]
HOST = {"Host": "localhost:8501"}


async def hello(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture
def options(monkeypatch):
    """options(name=value): what the server is run with; without any, as by default."""
    run_with = {
        "server.allowedHosts": [],
        "server.address": "localhost",
        "server.corsAllowedOrigins": [],
        "server.enableCORS": True,
    }
    monkeypatch.setattr(st, "get_option", run_with.__getitem__)
    monkeypatch.delenv(EMBED, raising=False)
    return lambda **values: run_with.update({f"server.{name}": value for name, value in values.items()})


def status(path="/", kind="http", method="GET", client="127.0.0.1", **headers):
    sent = HOST | {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(Guard(hello), path, kind=kind, method=method, client=client, headers=sent).status


# --- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "localhost:8501", "LocalHost.:1", "127.0.0.1:8501", "[::1]:8501"])
def test_a_server_for_this_machine_alone_answers_to_its_names(options, host):
    assert status(Host=host) == 200
    assert status(Host=host, kind="websocket") == 101


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8501",
            "localhost.evil.example",
            "10.0.0.7:8501",
            "127.0.0.1.nip.io",
            "",
            ":8501",
        ),
        *(
            "localhost@evil.example",
            "localhost/evil.example",
            "[::1]evil",
            "local host",
            "localhost:a",
            "localhost:1:1",
        ),
    ],
)
def test_a_name_that_somebody_has_made_to_mean_this_machine_is_refused(options, host):
    assert status(Host=host) == 421
    assert status(Host=host, kind="websocket") == 1008
    assert status(Host=host, Origin=f"http://{host}", kind="websocket") == 1008


def test_streamlit_alone_would_take_a_rebound_name_and_any_port_of_this_machine():
    """Why the guard is there. When this fails, Streamlit has learned it, and the guard may be too much."""
    assert _is_origin_allowed("http://evil.example:8501", "evil.example:8501")
    assert _is_origin_allowed("http://localhost:3000", "localhost:8501")


def test_a_server_for_a_class_answers_to_any_name_unless_names_are_given():
    for address in ("0.0.0.0", None, "192.168.1.7"):
        assert is_host_allowed("school.example", [], address)
        assert is_host_allowed("192.168.1.7:8501", [], address)
        assert not is_host_allowed("school.example", ["other.example"], address)
    given = ["Odconv.example.", "*.school.example"]
    answered = ("odconv.example:443", "a.school.example", "a.b.school.example")
    refused = ("school.example", "evilschool.example", "localhost", "odconv.example.evil.example")
    assert [is_host_allowed(host, given, "localhost") for host in answered + refused] == [True] * 3 + [False] * 4
    assert is_host_allowed("any.example", ["*"], "localhost")


# --- pages of other sites -----------------------------------------------------------------------------------------------


def test_a_page_of_another_site_or_port_is_refused_whatever_it_asks_for(options):
    for origin in ("http://localhost:3000", "http://127.0.0.1:8501", "http://evil.example", "null", "http://[", ""):
        assert status(Origin=origin, kind="websocket") == 1008, origin
        assert [status(Origin=origin, method=method) for method in ("GET", "POST", "PUT", "DELETE")] == [403] * 4


def test_the_servers_own_pages_and_programs_are_answered(options):
    for origin in ({"Origin": "http://localhost:8501"}, {"Origin": "https://LOCALHOST:8501"}, {}):
        assert status(**origin) == 200
        assert status(**origin, kind="websocket") == 101


def test_who_runs_the_server_can_name_friends_or_let_all_in(options):
    friend = "https://school.example"
    options(corsAllowedOrigins=["https://School.example/"])
    assert status(Origin=friend, kind="websocket") == 101
    assert status(Origin="http://school.example", kind="websocket") == 1008
    assert not is_origin_allowed("https://school.example:444", "localhost", [friend])
    options(enableCORS=False)
    assert status(Origin="http://evil.example") == 200


# --- what is inside -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/_stcore/script-health-check", "/base/_stcore/metrics/"])
def test_metrics_and_the_check_that_runs_a_page_are_for_this_machine_itself(options, path):
    options(allowedHosts=["*"])
    assert status(path) == status(path, client="::1", Host="[::1]:8501") == 200
    assert status(path, client="192.168.1.9") == 404
    assert status(path, client="unknown") == 404
    assert status(path, Host="school.example") == 404
    for header in ("X_Forwarded_For", "Forwarded", "X_Real_Ip", "Via"):
        assert status(path, **{header: "127.0.0.1"}) == 404
    assert status("/_stcore/health", client="192.168.1.9", Host="school.example") == 200


def test_the_check_that_runs_a_page_is_off_unless_it_is_turned_on():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert config["server"]["scriptHealthCheckEnabled"] is False


# --- what browsers are told -----------------------------------------------------------------------------------------------


def policy(headers):
    rules = (rule.split() for rule in headers["Content-Security-Policy"].split("; "))
    return {name: values for name, *values in rules}


def test_every_answer_has_the_headers_and_a_refusal_too(options):
    wanted = page_headers([])
    for sent in (HOST, {"Host": "evil.example"}):
        headers = ask(Guard(hello), headers=sent).headers
        assert {name: headers[name.lower()] for name in wanted} == wanted
    assert wanted["X-Content-Type-Options"] == "nosniff"
    assert wanted["Referrer-Policy"] == "same-origin"


def test_scripts_come_from_the_server_alone_and_nothing_is_made_of_texts():
    rules = policy(page_headers([]))
    assert rules["default-src"] == ["'self'"]
    assert {value.partition("-")[0] for value in rules["script-src"]} == {"'self'", "blob:", "'sha256"}
    assert rules["object-src"] == ["'none'"]
    assert not [value for values in rules.values() for value in values if "unsafe-eval" in value or value == "*"]


def test_the_app_stands_in_frames_of_its_own_site_and_of_those_that_are_named(options, monkeypatch):
    assert policy(page_headers([]))["frame-ancestors"] == ["'self'"]
    monkeypatch.setenv(EMBED, "https://school.example, https://*.edu.example:8443")
    headers = ask(Guard(hello), headers=HOST).headers
    assert policy({"Content-Security-Policy": headers["content-security-policy"]})["frame-ancestors"] == [
        "'self'",
        "https://school.example",
        "https://*.edu.example:8443",
    ]


def test_cookies_for_frames_of_other_sites_are_kept_apart_for_each_site(options, monkeypatch):
    """Chromium takes no others there, and without this one, uploads are refused."""

    def cookie(setting):
        async def setting_cookie(scope, receive, send):
            response = PlainTextResponse("hello", headers={"Set-Cookie": setting})
            await response(scope, receive, send)

        return ask(Guard(setting_cookie), headers=HOST).headers["set-cookie"]

    assert cookie("a=1; SameSite=None; Secure") == "a=1; SameSite=None; Secure"
    monkeypatch.setenv(EMBED, "https://school.example")
    assert cookie("a=1; SameSite=None; Secure") == "a=1; SameSite=None; Secure; Partitioned"
    assert cookie("a=1; SameSite=lax") == "a=1; SameSite=lax"


@pytest.mark.parametrize(
    "setting", ["school.example", "https://", "https://a.example/path", "*", "https://a;script-src", "'self'"]
)
def test_what_is_no_site_is_named_when_the_server_starts(setting):
    with pytest.raises(ValueError) as error:
        read_sites(f"https://school.example {setting}")
    assert EMBED in str(error.value)
    assert setting in str(error.value)
