"""Who asks, and what they may: the same answer from every service.

Does not live here: accounts (`services.ingest.accounts`), and what each service's routes ask for (its `access` module).
"""
