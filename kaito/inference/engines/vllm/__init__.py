"""vLLM as an engine: its `AsyncLLM` in this process, its own protocol-level serving classes behind our routes.

Tool-call and reasoning parsers, chat templates, guided decoding, the LoRA registry and the responses API are vLLM's:
written again they would differ from what its users know. vLLM's HTTP layer (FastAPI, uvicorn) is not started at all.

`internals` holds everything that depends on how vLLM is built inside, and refuses versions that it was not tried with.
`flags` turns our command line and configuration file into vLLM's arguments. `engine` is the `Engine`.
"""
