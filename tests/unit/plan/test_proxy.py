"""Pods use the operator's proxy, and never for what is inside the cluster."""

from __future__ import annotations

import pytest

from kaito.api.meta import Json
from kaito.plan.pods.proxy import behind_proxy, proxy_variables

WORKLOAD: Json = {
    "kind": "Job",
    "spec": {
        "template": {
            "metadata": {},
            "spec": {"initContainers": [{"name": "a"}], "containers": [{"name": "b", "env": [{"name": "X"}]}]},
        }
    },
}


@pytest.mark.parametrize("environ", [{}, {"NO_PROXY": "x"}, {"HTTPS_PROXY": ""}])
def test_without_a_proxy_nothing_is_added(environ: dict[str, str]) -> None:
    assert proxy_variables(environ) == ()
    assert behind_proxy(WORKLOAD, proxy_variables(environ)) == WORKLOAD


def test_the_inside_of_the_cluster_is_never_reached_through_it() -> None:
    found = dict(proxy_variables({"https_proxy": "http://p:3128", "NO_PROXY": "10.0.0.0/8, .svc"}))
    assert found == {
        "HTTPS_PROXY": "http://p:3128",
        "NO_PROXY": "10.0.0.0/8,.svc,localhost,127.0.0.1,.cluster.local",
    }


def test_every_container_has_each_variable_in_both_spellings_beside_its_own() -> None:
    pod = behind_proxy(WORKLOAD, (("HTTPS_PROXY", "p"),))["spec"]["template"]["spec"]
    added = [{"name": "HTTPS_PROXY", "value": "p"}, {"name": "https_proxy", "value": "p"}]
    assert pod["initContainers"] == [{"name": "a", "env": added}]
    assert pod["containers"] == [{"name": "b", "env": [{"name": "X"}, *added]}]
    assert "env" not in WORKLOAD["spec"]["template"]["spec"]["initContainers"][0]
