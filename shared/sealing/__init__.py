"""Encryption at rest: files whose plain bytes are read and written through here (docs/encryption.md).

Lives here: the format, its reader and writer, keys, and which files are sealed. Does not live here: who decides that a
file is kept (`shared.artifacts`, ingest), and secrets inside databases.
"""
