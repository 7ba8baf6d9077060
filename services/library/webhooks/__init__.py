"""Outgoing webhooks: who wants to hear of what, a durable queue of deliveries, and sending them (Standard Webhooks).

Does not live here: making and changing webhooks, which are events that ingest appends, and the rules that both share
(`shared.webhooks`, `shared.webhook_targets`).
"""
