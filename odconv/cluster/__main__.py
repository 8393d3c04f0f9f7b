"""Start a Ray cluster on this machine that answers a page's server, or put it on a cluster that this machine belongs to.

    python -m odconv.cluster [--listen 127.0.0.1] [--port 8000] [--address auto] [fewest=1] [most=4] [gpus=0.25] ...

Prints the two variables that the page's server needs, and where ``--ray`` of ``odconv.training.atlas`` finds the cluster; runs until it
is stopped.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Sequence

from odconv.cluster.environment import NEEDED, lacks_ray, secure_ray


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m odconv.cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1",
        help="address that is asked at; others than this machine's own reach 127.0.0.1 not",
    )
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--address", help="of a Ray cluster that this machine belongs to, such as auto; none: a new one"
    )
    parser.add_argument(
        "--memory", type=int, default=128, help="MiB for objects that a new cluster shares (default: 128)"
    )
    parser.add_argument("--processors", type=int, help="of a new cluster (default: those of the machine)")
    parser.add_argument("options", nargs="*", metavar="name=value", help="fewest, most, cpus, gpus, batch, wait")
    options = parser.parse_args(argv)
    pairs = [option.partition("=") for option in options.options]
    given = os.environ.setdefault("ODCONV_ENGINE_TOKEN", secrets.token_urlsafe(32))
    secure_ray(options.address)  # before Ray is imported
    try:
        import ray
        from ray import serve

        from odconv.cluster import serving
    except ImportError as error:
        if not lacks_ray(error):
            raise
        sys.exit(NEEDED)
    try:
        application = serving.build({name: value for name, _, value in pairs})
    except ValueError as error:
        sys.exit(str(error))
    if options.address is None:
        context = ray.init(
            include_dashboard=False,
            num_cpus=options.processors,
            object_store_memory=options.memory * 2**20,
            logging_level=logging.WARNING,
            log_to_driver=False,
        )
    else:
        context = ray.init(address=options.address, logging_level=logging.WARNING, log_to_driver=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # Ray's own ends the process in the middle of what it does
    try:
        serve.start(http_options={"host": options.listen, "port": options.port, "request_timeout_s": 30})
        serve.run(application, name="odconv", route_prefix="/")
        print(f"ODCONV_ENGINE=ray://{options.listen}:{options.port}", f"ODCONV_ENGINE_TOKEN={given}", sep="\n")
        print(f"RAY_ADDRESS={context.address_info['gcs_address']}", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        sys.exit()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
