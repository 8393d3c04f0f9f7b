"""What Ray reads from the environment when it is imported."""

from __future__ import annotations

import os
import secrets

NEEDED = 'Ray is needed: pip install ".[cluster]"'


def secure_ray(address: str | None) -> None:
    """Turn Ray's token on and its usage statistics off, in this process and all that it starts. Before Ray is imported.

    Without a token, who reaches Ray's ports runs code there. ``address``: of the cluster that is joined; empty or None: one is started
    here, for which a token is made unless ``RAY_AUTH_TOKEN`` or ``RAY_AUTH_TOKEN_PATH`` gives one, and whose ports are on loopback alone.
    The exception is each replica's port for others' questions, which Ray Serve opens on all interfaces; it takes nothing without
    the token.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not address and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if not address or address.startswith("127."):
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on Linux, too, means: this node is at 127.0.0.1


def lacks_ray(error: ImportError) -> bool:
    """Whether what cannot be imported is Ray, or comes with it."""
    return (error.name or "ray").partition(".")[0] in ("ray", "starlette", "pyarrow")
