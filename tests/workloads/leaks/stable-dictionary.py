# case: quiet
# mode: exact
# seconds: 45
# what: a Python service keeps 300 values in a dictionary and replaces them
import random
import time

values = {}


def store(key):
    values[key] = bytes(600 + random.randrange(600))


def render():
    return ", ".join(f"{key}={len(value)}" for key, value in values.items())


random.seed(1)
for key in range(300):
    store(key)
end = time.monotonic() + 90
while time.monotonic() < end:
    for _ in range(5):
        store(random.randrange(300))
    render()
    time.sleep(0.05)
