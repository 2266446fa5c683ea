"""Which hosts a user's URL may name: none of the cluster's own network, nor a cloud's metadata service."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

METADATA_HOSTS = frozenset(
    ("metadata.google.internal", "metadata.google", "instance-data.ec2.internal", "instance-data")
)


def refused_host(host: str) -> str:
    """Why the host may not be asked; empty when it may, as far as its name tells. Its addresses count as well."""
    name = host.strip("[]").rstrip(".").lower()
    if not name:
        return "the URL names no host"
    if name == "localhost" or name.endswith(".localhost"):
        return f"{host} is this machine"
    if name in METADATA_HOSTS:
        return f"{host} is a metadata service"
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        # inet_aton reads 2130706433, 0x7f.1 and 127.1 as addresses too; no public name ends in a number.
        last = name.rpartition(".")[2]
        return f"{host} is an address in disguise" if last.isdecimal() or last.startswith("0x") else ""
    return refused_address(name)


def refused_address(text: str) -> str:
    """Why the IP address may not be connected to; empty when it may. Raises ValueError for what is no address."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        # The IPv4 address that a translator or tunnel would take out of it.
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return refused_address(str(inner))
    if address.is_loopback:
        return f"{text} is a loopback address"
    if address.is_link_local:
        return f"{text} is a link-local address"
    return "" if address.is_global and not address.is_multicast else f"{text} is not a public address"
