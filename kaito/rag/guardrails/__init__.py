"""Output guardrails: what a model's answer may not say, by a policy file that can change while the service runs.

They fail closed. A policy that cannot be read, a scanner that is not known, a scan that raises: no answer passes.
"""
