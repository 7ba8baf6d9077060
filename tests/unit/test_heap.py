"""What `shared.heap` promises, seen in the page faults of a process of its own."""

import subprocess
import sys

PROGRAM = """
import resource
from shared.heap import keep_large_buffers
keep_large_buffers()
def read(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        first = bytes(bytearray(256 << 10))
        second = first[1:]
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
read(20)
print(read(1000))
"""


def test_the_blocks_of_a_request_cost_no_pages_of_the_kernel() -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert int(told) < 1000, "page faults, less than one for each block; 160,000 without"
