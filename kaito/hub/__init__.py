"""The model hub: config and file listing of any org/model, as a preset; never weights.

client   the hub's own HTTP: two bounded requests a model, of the configured endpoint and no other
model    config.json and file sizes → Preset, or why there is none; pure
desk     many questions, few requests: what was answered is kept, bounded in entries, bytes and age
"""
