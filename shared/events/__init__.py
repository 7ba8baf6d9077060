"""The event contract: the only thing, with `shared.commands`, that two services must agree on.

Lives here: the CloudEvents envelope, every event type, every subject name, JSON Schema and AsyncAPI.
Does not live here: how events are stored (`shared.eventlog`) and what they mean (`shared.job`).
"""
