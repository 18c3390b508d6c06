"""Nothing of ours prints what the physics engine says about itself."""

import subprocess
import sys

SCRIPT = """
import numpy as np
from memristor_bdnn import skills
from memristor_bdnn.active.trials import LocalTrials
from memristor_bdnn.skills.candidates import ask
for name in ("pouring", "pushing"):
    skill = skills.load(name)
    trials = LocalTrials(skill)
    rng = np.random.default_rng(0)
    context = trials.sample_context(rng)
    trials.run(context, ask(skill, context, 1, rng, trials.arm)[0], 0)
print("still here", flush=True)
"""


def test_a_trial_prints_no_banner_and_output_comes_back():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "still here\n" and "pybullet" not in done.stderr


def test_closed_outputs_do_not_matter():
    script = (
        "import os; os.close(1); os.close(2)\nfrom memristor_bdnn.motion import bullet\nbullet.client().disconnect()"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_making_a_client_takes_nobody_elses_words():
    """Another thread may write while a client is made."""
    script = """
import os, threading
from memristor_bdnn.motion import bullet
done = threading.Event()
def speak():
    while not done.is_set():
        os.write(1, b"x"), os.write(2, b"y"), said.append(1)
said = []
thread = threading.Thread(target=speak)
thread.start()
for _ in range(20):
    bullet.client().disconnect()
done.set()
thread.join()
print(len(said))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = int(done.stdout.strip("x\n"))
    assert done.stdout.count("x") == done.stderr.count("y") == said
