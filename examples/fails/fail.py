"""Works for about two seconds, then finds that its input is missing and ends with exit code 3."""

import sys
import time

STEPS = 4
EXIT_CODE = 3

for step in range(1, STEPS + 1):
    print(f"step {step} of {STEPS}: reading part {step}", flush=True)
    time.sleep(0.5)
print("error: part 5 is missing: nothing to train on", file=sys.stderr, flush=True)
sys.exit(EXIT_CODE)
