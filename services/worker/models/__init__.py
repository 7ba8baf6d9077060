"""Model weights: what they are (`lock.toml`), how they are fetched, and that only verified ones are used.

Weights are no Python dependencies. Does not live here: anything that loads a model (`services.worker.engines`).
"""
