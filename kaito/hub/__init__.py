"""The model hub: config and file listing of any org/model, as a preset. Bounded, cached, never weights."""
