"""The job: its stage graph and its aggregate. Pure: no clock, no I/O, no randomness except what is passed in."""
