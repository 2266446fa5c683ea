"""Fine-tuning: LoRA and QLoRA of a model on a data set, and what goes in and comes out.

`python -m kaito.tuning` trains, `kaito.tuning.fetch` brings the data, `kaito.tuning.push` takes the adapter away. The
training loop is trl's `SFTTrainer`: what is ours is around it. Decisions:

- The configuration is checked against the classes that will receive it, key by key, before a weight is loaded.
- Rows are read by our own readers, so that a bad one is named by file and line, and turned into one of three forms:
  messages, prompt and completion, text.
- A run leaves a fingerprint of its configuration, model and data in the output folder. A checkpoint is taken up again
  only by a run with the same fingerprint; what another run left behind is cleared first.
- One process writes: rank 0. The success marker is the last thing that it writes, and it appears whole.
- `config`, `dataset`, `progress`, `report`, `fetch`, `push` and what they use import no torch: they start in a moment.
"""
