#!/bin/sh
# Process 1 of a kernel guest (cargo xtask vm): captures a program with memmgr in every way and sends what
# came out to the host. It judges nothing. Console: the first serial line. Evidence: the second, as a tar archive.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir -p /tmp /evidence /sys/fs/cgroup/guest
echo $$ >/sys/fs/cgroup/guest/cgroup.procs
# tracefs is left unmounted: memmgr opens it by itself.

say() {
    read -r up _ </proc/uptime
    echo "guest: $up s: $*" >/dev/console
}

# Waits until a file holds a line that begins with $2. Gives up when process $3 has ended.
await() {
    until grep -qs "^$2" "$1"; do
        kill -0 "$3" 2>/dev/null || return 1
        sleep 0.1
    done
}

# One capture: $1 names the evidence, the rest are flags of memmgr.
capture() {
    name=$1
    shift
    mkfifo /tmp/orders
    holds-known-blocks </tmp/orders >/tmp/answers &
    target=$!
    exec 3>/tmp/orders
    await /tmp/answers ready "$target"
    memmgr report --pid "$target" --duration 0 "$@" --output "/evidence/$name.json" \
        >/dev/null 2>"/evidence/$name.stderr" &
    memmgr=$!
    if await "/evidence/$name.stderr" 'memmgr: capturing' "$memmgr"; then
        say "$name: attached"
        echo go >&3
        await /tmp/answers '{' "$target"
        kill -INT "$memmgr"
    fi
    wait "$memmgr"
    echo $? >"/evidence/$name.exit"
    grep '^{' /tmp/answers >"/evidence/$name.truth"
    exec 3>&-
    wait "$target"
    rm /tmp/orders /tmp/answers
    say "$name: done"
}

say 'doctor'
uname -r >/evidence/release
memmgr doctor --json >/evidence/doctor.json 2>/evidence/doctor.stderr
for mode in exact sample; do
    for stack in dwarf fp; do
        capture "$mode-$stack" --mode $mode --stack $stack --sample-interval 16KiB --ring-bytes 64MiB
    done
done

# A process in a cgroup of v2 that wants 64 MiB: tail keeps all that it may have to print.
hog() {
    sh -c 'echo $$ >/sys/fs/cgroup/watched/cgroup.procs; head -c 64m /dev/zero | tail -c 64m >/dev/null'
}

say 'watch'
watched=/sys/fs/cgroup/watched
mkdir $watched
memmgr watch --json --when 'cgroup:/watched event.max' --when 'cgroup:/watched event.high' \
    --when 'cgroup:/watched oom_kill' --when 'cgroup:/watched pressure.some > 10% in 1s' \
    --when 'process:tail@/watched rss > 4MiB' --directory /tmp \
    >/evidence/watch.jsonl 2>/evidence/watch.stderr &
watch=$!
if await /evidence/watch.stderr 'memmgr: watching' "$watch"; then
    sleep 2
    echo 16m >$watched/memory.max
    hog
    echo max >$watched/memory.max
    sleep 2
    # Above this it is slowed down more and more, and waits for memory.
    echo 8m >$watched/memory.high
    hog &
    hog=$!
    sleep 8
    echo 1 >$watched/cgroup.kill
    wait "$hog"
    echo max >$watched/memory.high
    sleep 2
    kill -INT "$watch"
fi
wait "$watch"
echo $? >/evidence/watch.exit
# Pages of a file stay charged when the one that wrote them has ended.
sh -c 'echo $$ >/sys/fs/cgroup/watched/cgroup.procs; head -c 4m /dev/zero >/tmp/held'
cat $watched/memory.events >/evidence/memory.events
cat $watched/memory.current >/evidence/memory.current
memmgr stat --cgroup /watched --json >/evidence/stat.json 2>/evidence/stat.stderr
cat $watched/memory.current >>/evidence/memory.current
say 'watch: done'

say 'optimize'
cold=/sys/fs/cgroup/cold
mkdir $cold
# Pages of a disk stay charged to whom they were read by, as long as somebody has it open.
exec 4</dev/nvme0n1
fill_cold() {
    sh -c 'echo $$ >/sys/fs/cgroup/cold/cgroup.procs; head -c 512m /dev/nvme0n1 >/dev/null'
}
fill_cold
optimize() {
    name=$1
    shift
    memmgr optimize "$@" --apply --settle 1s --log /tmp/log --json >"/evidence/$name.json" 2>"/evidence/$name.stderr"
    echo $? >"/evidence/$name.exit"
}
optimize swappiness reclaim --cgroup /cold --amount 1MiB --swappiness 0
# The kernel may have taken more by itself meanwhile: this guest is small.
fill_cold
optimize reclaim reclaim --cgroup /cold --amount 480MiB
cat $cold/memory.current >/evidence/reclaim.current
cat $cold/memory.stat >/evidence/reclaim.stat
mkswap /dev/nvme1n1 >/dev/null
swapon /dev/nvme1n1
mkfifo /tmp/orders
rm -f /tmp/answers
gives-back </tmp/orders >/tmp/answers &
target=$!
exec 3>/tmp/orders
echo hold 256 >&3
await /tmp/answers done "$target"
optimize pageout pageout --pid "$target"
echo sum >&3
await /tmp/answers '{' "$target"
grep '^{' /tmp/answers >/evidence/pageout.sum
exec 3>&-
wait "$target"
swapoff /dev/nvme1n1
# Most of these pages are free, and no large block of them; the kernel does not compact by itself meanwhile.
echo 0 >/proc/sys/vm/compaction_proactiveness
mkfifo /tmp/pieces
gives-back </tmp/pieces >/tmp/broken &
target=$!
exec 3>/tmp/pieces
echo pieces 600 >&3
await /tmp/broken done "$target"
optimize compact compact
exec 3>&-
wait "$target"
say 'optimize: done'

say 'sending'
stty -F /dev/ttyS1 raw
tar -c -f /dev/ttyS1 -C /evidence .
say 'end'
poweroff -f
