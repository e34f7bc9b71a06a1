"""Private training: what a member's update may tell about a single sample, bounded and counted.

`stream` draws secret randomness from a key, `sgd` trains with clipped gradients and Gaussian noise,
`accountant` says which (epsilon, delta) that gives, `masking` adds updates up unseen. See
docs/adr/0016-privacy.md for what is protected from whom.
"""
