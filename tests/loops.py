"""Coroutines in tests."""

import asyncio
from concurrent.futures import ThreadPoolExecutor


def finish(coroutine):
    """What it returns, in a thread of its own: the browser of other tests leaves a running loop in the main one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
