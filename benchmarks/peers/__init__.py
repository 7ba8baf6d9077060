"""The peers of the orchestration benchmark: each module runs in build/venv-peers and imports nothing of Dubline.

A driver reads one JSON request a line from stdin, `{"jobs": 50, "stages": 6, "at_once": true}`, and answers with
`{"seconds": ..., "latencies": [...]}`: from the first client call to the last job's end, and per job where they ran one
after the other.
"""
