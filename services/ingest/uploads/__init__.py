"""Uploads that come in several requests: tus and the predecessor's chunks, on one store.

Lives here: what an upload is, on disk and in memory, and what may happen to it. Does not live here: HTTP
(`routes.tus`, `routes.uploads`), and how an upload becomes a job (`services.ingest.submission`).
"""
