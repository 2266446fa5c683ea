"""Images of files: adapters, data, weights. `python -m kaito.oci pull` is the init container of every workload.

The registry's protocol is oras's (oras-py); ours on top of it are limits, deadlines, several credentials, checked
digests, uploads that are not held in memory, and errors that say what to do. No torch: it starts in a moment.
"""
