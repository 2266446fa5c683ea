"""Machines of instance types, from the catalogue."""

from __future__ import annotations

import pytest

from kaito.local.robots.machines import find_machine, requested_type
from kaito.plan.catalog import CLOUDS, skus


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_instance_type_of_the_catalogue_is_a_machine_with_its_devices(cloud: str):
    for sku in skus(cloud).values():
        machine = find_machine(sku.name.upper())
        assert machine is not None
        assert machine.capacity(gpus=machine.gpus)[sku.resource] == str(sku.gpus)
        assert sku.resource not in machine.capacity()
        assert bool(machine.accelerator_labels) is (sku.resource == "nvidia.com/gpu")


@pytest.mark.parametrize(
    "name", ["Standard_D8s_v5", "Standard_E16ads_v5", "Standard_B2ms", "m5.xlarge", "c7i.24xlarge"]
)
def test_instance_types_without_devices_are_machines_too(name: str):
    machine = find_machine(name)
    assert machine is not None and machine.gpus == 0 and "cpu" in machine.capacity(gpus=None)


@pytest.mark.parametrize("name", ["", "Standard_Nonsense", "Standard_NC6s_v3", "laptop"])
def test_anything_else_is_no_machine(name: str):
    assert find_machine(name) is None


def test_a_claim_that_leaves_the_type_open_asks_for_none():
    assert (
        requested_type({"spec": {"requirements": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}})
        == ""
    )
    assert requested_type({}) == ""
