"""Accounts: who may come in, and with what. Everything here is ingest's own, in auth.db.

Does not live here: HTTP (`services.ingest.routes`), and what a credential may do (`shared.access`).
"""
