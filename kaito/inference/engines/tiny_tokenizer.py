"""A tokenizer made on the spot: byte-level BPE over a list of words, and a chat template that knows tools."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

# Frequent English words and words of this trade: what the tiny model stammers in.
WORDS = """
the of and to in is that it was for on are as with his they at be this from have or by one had not but what all were
when we there can an your which their said if do will each about how up out them then she many some so these would
other into has more her two like him see time could no make than first been its who now people my made over did down
only way find use may water long little very after words called just where most know get through back much go good new
write our me man too any day same right look think also around another came come work three must because does part
even place well such here take why help put different away again off went old number great tell men say small every
found still between name should home big give air line set own under read last never us left end along while might
next sound below saw something thought both few those always show large often together asked house world going want
school important until form food keep children feet land side without boy once animal life enough took four head above
kind began almost live page got earth need far hand high year mother light country father let night picture being
study second soon story since white ever paper hard near sentence better best across during today however sure knew
try told young sun thing whole hear example heard several change answer room sea against top turned learn point city
play toward five himself usually money seen car morning body upon family later turn move face door cut done group true
half red fish plants living black eat short run book gave order open ground cold really table remember tree course
front space inside ago sad early operator cluster node pod model server token memory device request response queue
stream cache weight layer workload controller watch event state plan apply status ready running image volume network
service deploy scale tune adapter inference
"""
VOCABULARY = 1024
SPECIAL = ["<pad>", "<s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
CHAT_TEMPLATE = """\
{{- '<s>' }}
{%- if tools %}
{{- '<|system|>\\nYou may call these tools. To call one, write ' }}
{{- '<tool_call>{"name": NAME, "arguments": OBJECT}</tool_call>\\n' }}
{%- for tool in tools %}{{- tool | tojson + '\\n' }}{%- endfor %}
{{- '<|end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|' + ('system' if message.role == 'developer' else message.role) + '|>\\n' }}
{%- if message.content %}{{- message.content }}{%- endif %}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>' + (call.function | tojson) + '</tool_call>' }}
{%- endfor %}
{%- if not (loop.last and continue_final_message) %}{{- '<|end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- endif %}
"""


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {word} {word}" for word in WORDS.split()], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="<|end|>",
        pad_token="<pad>",
        additional_special_tokens=SPECIAL[3:],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
