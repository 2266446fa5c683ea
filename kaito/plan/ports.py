"""The ports of a model server: the same numbers in its command, its probes and its Services (upstream's)."""

HTTP_PORT = 80  # of the Service
SERVER_PORT = 5000
RAY_PORT = 6379
RAY_DASHBOARD_PORT = 8265
KV_EVENTS_PORT = 5557
