"""The sandbox around ffmpeg and ffprobe, the only programs that read what strangers upload.

`choice` decides which variant is used, `launch` composes the start of a program in it, `program` finds what a program
needs to run at all; `bubblewrap`, `landlock` and `seccomp` are the walls. The child's own half is `shared.confine`.
docs/sandbox.md says what each variant holds. Does not live here: speech and translation engines, which are not
sandboxed, and which media is accepted (`shared.media_check`).
"""
