"""kaito: serve, tune and retrieve with open models on Kubernetes, driven by events rather than polling."""

__version__ = "0.1.0"
