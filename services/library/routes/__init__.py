"""HTTP of the library, one file per group. Lives here: routes. What they read is in `services.library.library`."""
