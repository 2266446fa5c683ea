"""The engines. Heavy imports live here and nowhere else, and happen when an engine is opened."""
