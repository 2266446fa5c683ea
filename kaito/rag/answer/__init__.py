"""Chat completions: the client's request, the passages that fit, and the model server's answer with its sources.

The model server's answer is relayed as it is rather than rebuilt by an LLM client library: every parameter and every
field of the protocol, those of tomorrow included, goes through.
"""
