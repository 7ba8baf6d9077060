"""The event log and the command queue: ports, an in-memory pair, and the JetStream pair.

Lives here: how events and commands are stored and read. Does not live here: what they mean (`shared.job`).
"""
