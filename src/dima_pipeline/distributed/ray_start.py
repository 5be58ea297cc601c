"""Ray itself: the cluster that ``RAY_ADDRESS`` names, or one of our own that no other machine can reach.

A Ray of our own listens on loopback alone, asks everybody for its token and sends nothing anywhere.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import ray_constants, services
from ray._raylet import Config  # type: ignore[attr-defined]  # compiled

from dima_pipeline.storage.runtime import RuntimeConfig

logger = logging.getLogger(__name__)

ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    # Ray would start workers through `uv run` again when it finds itself started by it, and hang.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # The defaults poll every 2 s, which every report would wait for.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # At Ray's own niceness of 15, anything else on the machine stops training almost.
    "RAY_worker_niceness": "0",
    # Without it the dashboard knows of no Train run.
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
}
"""What Ray is told unless the user's environment says otherwise."""
LOOPBACK = "127.0.0.1"
CLOSED_PROXY = f"http://{LOOPBACK}:9"
NO_REQUESTS = {"http_proxy": CLOSED_PROXY, "https_proxy": CLOSED_PROXY, "no_proxy": f"{LOOPBACK},localhost"}
"""Sends the HTTP requests of a process to a closed port of this machine."""


def start_ray(runtime: RuntimeConfig) -> None:
    """Connect to ``RAY_ADDRESS`` or start Ray on this machine; nothing to do where it runs already.

    Raises Ray's ``AuthenticationError`` where there is no token for a cluster and ``RAY_AUTH_MODE`` is not "disabled".
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        return
    # Ray read its environment when it was imported.
    Config.initialize("")
    quiet: dict[str, Any] = {"logging_level": logging.WARNING, "log_to_driver": False}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
        return
    _keep_token_private()
    with _only_this_machine():
        context = ray.init(
            num_cpus=runtime.num_cpus,
            include_dashboard=runtime.use_dashboard,
            dashboard_host=LOOPBACK,
            object_store_memory=runtime.object_store_mb * 2**20,
            **quiet,
        )
    if context.dashboard_url:
        login = " (log in with the token that `ray get-auth-token` prints)" if _asks_for_token() else ""
        logger.info("Ray dashboard while this run lasts: http://%s%s", context.dashboard_url, login)


def python_path() -> list[str]:
    """Where the driver imports from; a plug-in may lie outside of what is installed."""
    return [str(Path(path).resolve()) for path in sys.path]


def extend_python_path(paths: Sequence[str]) -> None:
    """Let this worker import from ``paths``, too."""
    sys.path.extend(path for path in paths if path not in sys.path)


def _asks_for_token() -> bool:
    return os.environ["RAY_AUTH_MODE"].lower() == "token"


def _keep_token_private() -> None:
    """Ray writes a new token into a file that everybody may read: have the file there before, for its owner alone."""
    if _asks_for_token() and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        path = Path.home() / ".ray" / "auth_token"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)


def _loopback_interface() -> str:
    """``lo`` on Linux, ``lo0`` on macOS."""
    addresses = psutil.net_if_addrs()
    return next(name for name in addresses if any(address.address == LOOPBACK for address in addresses[name]))


@contextmanager
def _only_this_machine() -> Iterator[None]:
    """Start Ray's processes so that they listen on loopback, and the dashboard so that it asks nobody.

    Ray replaces a loopback address by that of the network, unless its clusters are switched off (as they are on macOS);
    gloo takes the address that the DNS has for this machine. Ray's dashboard asks cloud metadata services where it runs
    and reports that usage statistics are off, even with usage statistics off (ray 2.60).
    """
    start, has_clusters = services.start_ray_process, ray_constants.ENABLE_RAY_CLUSTER

    def start_here(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:
        added = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0", "GLOO_SOCKET_IFNAME": _loopback_interface()}
        if process_type == ray_constants.PROCESS_TYPE_DASHBOARD:
            added |= NO_REQUESTS
        options["env_updates"] = {**(options.get("env_updates") or {}), **added}
        return start(command, process_type, *arguments, **options)

    services.start_ray_process, ray_constants.ENABLE_RAY_CLUSTER = start_here, False
    try:
        yield
    finally:
        services.start_ray_process, ray_constants.ENABLE_RAY_CLUSTER = start, has_clusters
