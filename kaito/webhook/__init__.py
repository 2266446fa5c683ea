"""The admission server: the rules of `plan.validate` over HTTPS, inside every replica of the operator.

review (AdmissionReview in, AdmissionReview out; pure) – certificate (made here, shared by a Secret, rotated) – server.
It is ready independently of sync: what a rule needs and is not known becomes a warning.
"""
