# Says for each line that it reads how many arenas its allocator of small objects holds; for the word "grow" it keeps a million
# small objects and 200 large ones more before.
import os
import sys
import tempfile


def arenas():
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        sys._debugmallocstats()
        file.seek(0)
        for line in file:
            if line.startswith(b"# arenas allocated current"):
                return int(line.split(b"=")[1].replace(b",", b""))


def main():
    kept = []
    arenas()
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "grow":
            kept.append([(i, str(i)) for i in range(1_000_000)])
            kept.append([bytearray(100_000) for _ in range(200)])
        print(arenas(), flush=True)


main()
