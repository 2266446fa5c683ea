"""The model server: OpenAI's API on aiohttp over vLLM or transformers. `python -m kaito.inference --model DIR`."""
