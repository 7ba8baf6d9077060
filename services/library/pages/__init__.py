"""The web pages: rendered on the server, readable without a script, kept live by small modules in `static`.

Lives here: templates, words and routes of the pages. Does not live here: the data (`services.library.library`).
"""
