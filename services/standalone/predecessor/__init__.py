"""Taking over the jobs of the system that Dubline replaces.

Lives here: reading its pickled tables without running anything (`unpickle`), what its records mean (`records`), and
bringing jobs and files in (`importer`).
"""
