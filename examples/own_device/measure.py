"""Makes pulses.csv: what a lab's measurement of its own devices looks like, here of simulated ones.

400 SET pulses, 400 RESET pulses and 400 reads of devices between 1 and 12 uA, as a script on a probe station would
write them; run it to make the file again.
"""

from pathlib import Path

import numpy as np

LOW, HIGH, ROWS = 1.0, 12.0, 400
FILE = Path(__file__).parent / "pulses.csv"


def main() -> None:
    """Write the table."""
    rng = np.random.default_rng(15)
    state = rng.uniform(LOW, HIGH, (3, ROWS))
    noise = rng.normal(0, 1, (2, ROWS))
    up = state[0] + 0.30 * (HIGH - state[0]) + (0.15 + 0.04 * state[0]) * noise[0]
    down = state[1] - 0.25 * (state[1] - LOW) + (0.15 + 0.04 * state[1]) * noise[1]
    read = state[2] + rng.laplace(0, 0.02 + 0.015 * state[2])
    lines = ["operation,state_ua,next_ua"]
    for operation, before, after in (("set", state[0], up), ("reset", state[1], down), ("read", state[2], read)):
        lines += [f"{operation},{a:.3f},{b:.3f}" for a, b in zip(before, np.clip(after, 0, None), strict=True)]
    FILE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
