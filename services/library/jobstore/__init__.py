"""jobs.db: every table of the library, in one SQLite file.

Lives here: the key-value tables (`store`), the index that triggers derive from them (`schema`), and read-only
queries (`reader`). Does not live here: what is written and when (`services.library.projector`).
"""
