"""/tokenize and /detokenize over a tokenizer."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from kaito.inference.generation import ModelInfo, Tokenizer
from kaito.web.openai.chat import ChatRequest
from kaito.web.openai.decode import decode
from kaito.web.openai.errors import invalid
from kaito.web.openai.tokens import DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse

TOKENIZE = msgspec.json.Decoder(TokenizeRequest)
DETOKENIZE = msgspec.json.Decoder(DetokenizeRequest)


def tokenize(
    body: bytes, tokenizer: Tokenizer, info: ModelInfo, chat_tokens: Callable[[ChatRequest], list[int]]
) -> bytes:
    """Raises ApiError."""
    request = decode(body, TOKENIZE)
    if (request.prompt is None) == (request.messages is None):
        raise invalid("expected prompt or messages, one of them", param="prompt")
    if request.prompt is not None:
        tokens = tokenizer.encode(request.prompt, add_special_tokens=request.add_special_tokens is not False)
    else:
        tokens = chat_tokens(
            ChatRequest(
                messages=request.messages or [],
                tools=request.tools,
                add_generation_prompt=request.add_generation_prompt,
                continue_final_message=request.continue_final_message,
                chat_template_kwargs=request.chat_template_kwargs,
            )
        )
    names = [tokenizer.token_name(token) for token in tokens] if request.return_token_strs else None
    answer = TokenizeResponse(count=len(tokens), max_model_len=info.context_tokens, tokens=tokens, token_strs=names)
    return msgspec.json.encode(answer)


def detokenize(body: bytes, tokenizer: Tokenizer) -> bytes:
    """Raises ApiError."""
    request = decode(body, DETOKENIZE)
    wrong = next((token for token in request.tokens if token >= tokenizer.vocabulary_size), None)
    if wrong is not None:
        expected = f"0 to {tokenizer.vocabulary_size - 1}"
        raise invalid(f"tokens: {wrong} is not a token id of this model ({expected})", param="tokens")
    prompt = tokenizer.decode(request.tokens, skip_special_tokens=False)
    return msgspec.json.encode(DetokenizeResponse(prompt=prompt))
