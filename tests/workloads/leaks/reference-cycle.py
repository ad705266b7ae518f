# case: leak
# function: PyByteArray_Resize
# mode: exact
# seconds: 40
# what: objects of a Python service hold each other while the collector of cycles is turned off
import gc
import time


class Session:
    def __init__(self):
        self.buffer = bytearray(2000)
        self.owner = self


def handle_request():
    return len(Session().buffer)


gc.disable()
end = time.monotonic() + 90
while time.monotonic() < end:
    handle_request()
    time.sleep(0.02)
