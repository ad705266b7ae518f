# A service in Python that is always busy: it makes objects, dictionaries and strings, small ones and some that
# malloc has to serve, and keeps the newest. Ten times a second it prints "NANOSECONDS REQUESTS":
# CLOCK_MONOTONIC, and all requests until then.
import collections
import json
import time


class Document:
    def __init__(self, number, words):
        self.number = number
        self.words = {word: position for position, word in enumerate(words)}
        self.text = " ".join(words)


def handle_request(number, kept):
    words = ["word-%d" % ((number * 7 + i) % 1000) for i in range(number % 150)]
    document = Document(number, words)
    encoded = json.dumps({"number": number, "text": document.text, "words": document.words})
    decoded = json.loads(encoded)
    kept.append((document, encoded, bytearray(600 + number % 3000)))
    return len(decoded["words"])


def main():
    kept = collections.deque(maxlen=2000)
    number = 0
    next_line = time.monotonic()
    while True:
        number += 1
        handle_request(number, kept)
        now = time.monotonic()
        if now >= next_line:
            next_line = now + 0.1
            print(time.monotonic_ns(), number, flush=True)


main()
