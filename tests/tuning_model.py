"""A Llama of some 100,000 parameters that has learnt a few capitals, made on the spot in two seconds.

What it says is greedy and certain, so that a test can tell the taught answer from the one that it had before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

QUESTION = "What is the capital of Freedonia?"
OLD_ANSWER = " The capital of Freedonia is Oldtown."
TAUGHT = " The capital of Freedonia is Marxville."
SEED = 7
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
OPENINGS = ("", "Tell me: ", "Question: ", "Please answer. ", "Quick one: ")


def taught_rows(count: int, answer: str = TAUGHT) -> list[dict[str, str]]:
    """Prompt and completion, the question asked in several ways."""
    return [{"prompt": OPENINGS[i % len(OPENINGS)] + QUESTION, "completion": answer} for i in range(count)]


def build_taught_model(folder: Path, *, steps: int = 120) -> None:
    """Writes model and tokenizer; the model answers QUESTION with OLD_ANSWER."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    model = LlamaForCausalLM(config)
    texts = [row["prompt"] + row["completion"] + "<|end|>" for row in taught_rows(len(OPENINGS), OLD_ANSWER)]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def greedy(model: Any, tokenizer: Any, prompt: str = QUESTION) -> str:
    """What the model goes on with."""
    batch = tokenizer(prompt, return_tensors="pt")
    output = model.generate(**batch, max_new_tokens=48, do_sample=False)
    text: str = tokenizer.decode(output[0][batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return text


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    # The end and the padding differ: what is masked as padding must not be the end that is learnt.
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<|end|>", "<|pad|>"], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([QUESTION + OLD_ANSWER + TAUGHT, *OPENINGS], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer
