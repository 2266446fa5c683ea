"""load_configuration: where the API server is and who we are, by kubernetes-asyncio's own loaders.

Importing that package runs its whole generated client: 0.3 s and 40 MB of models of which we use none. The loaders need
two names of it, so they are imported beside two packages whose `__init__` has not been run; these leave `sys.modules`
again at once, so that whoever imports the package afterwards gets it whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import yaml

from kaito.kube.errors import Unauthorized

PACKAGE = "kubernetes_asyncio"
CLIENT = f"{PACKAGE}.client"
_importing = threading.Lock()  # `sys.modules` is the whole process's; benchmarks connect in two threads
# Of a file that is none, the loader raises whatever its reading of it comes upon.
NO_KUBECONFIG = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError)


class _Loaders(NamedTuple):
    configuration: Any  # the class
    config: ModuleType


async def load_configuration(kubeconfig: Path | None) -> Any:
    """A fresh kubernetes-asyncio `Configuration`: from the file, else from the pod, else from where kubectl looks.

    Raises Unauthorized that names what was read when there is no usable configuration.
    """
    with _importing:
        loaders = _loaders()
    configuration = type.__call__(loaders.configuration)  # a fresh one: the class hands out a shared default otherwise
    try:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            loaders.config.load_incluster_config(client_configuration=configuration)
        else:
            path = None if kubeconfig is None else str(kubeconfig)
            await loaders.config.load_kube_config(
                config_file=path, client_configuration=configuration, persist_config=False
            )
    except (loaders.config.ConfigException, *NO_KUBECONFIG) as error:
        where = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise Unauthorized(f"no usable cluster configuration in {where}: {error}; pass --kubeconfig FILE") from error
    return configuration


@cache
def _loaders() -> _Loaders:
    if PACKAGE in sys.modules:
        return _Loaders(importlib.import_module(CLIENT).Configuration, importlib.import_module(f"{PACKAGE}.config"))
    try:
        sys.modules[PACKAGE] = _not_run(PACKAGE)
        sys.modules[CLIENT] = client = _not_run(CLIENT)
        configuration = importlib.import_module(f"{CLIENT}.configuration").Configuration
        client.Configuration, client.ApiClient = configuration, None  # type: ignore[attr-defined]
        return _Loaders(configuration, importlib.import_module(f"{PACKAGE}.config"))
    finally:
        for name in (PACKAGE, CLIENT):
            sys.modules.pop(name, None)


def _not_run(name: str) -> ModuleType:
    """The package without its contents: its submodules can be imported."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ImportError(f"{name} is not installed")
    return importlib.util.module_from_spec(spec)
