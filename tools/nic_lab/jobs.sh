# What every job in the guest may use.

# busybox prefers its own.
ip() { /bin/ip "$@"; }
tc() { /bin/tc "$@"; }

# start NAME PATTERN COMMAND...: in the background, until a line that it printed matches, or it ended.
start() {
    name=$1 pattern=$2
    shift 2
    rm -f /tmp/$name.*
    {
        "$@" >/tmp/$name.out 2>&1 </dev/null &
        echo $! >/tmp/$name.pid
        wait $! && code=0 || code=$?
        echo $code >/tmp/$name.code
    } >/dev/null 2>&1 &
    until grep -q "$pattern" /tmp/$name.out 2>/dev/null || [ -e /tmp/$name.code ]; do usleep 20000; done
}

# finish NAME: asks it to end, if it has not, and passes its exit code on. Its words go to stderr, its JSON to stdout.
finish() {
    [ -e /tmp/$1.code ] || kill -TERM "$(cat /tmp/$1.pid)"
    await $1
}

# await NAME: until it ends by itself; the rest as finish.
await() {
    until [ -e /tmp/$1.code ]; do usleep 20000; done
    cat /tmp/$1.out >&2
    cat /tmp/$1.json 2>/dev/null
    return "$(cat /tmp/$1.code)"
}

# carrier NIC NAMESPACE: until it has a link, at most ten seconds.
carrier() {
    for _ in $(seq 100); do
        case $(ip ${2:+-n $2} -br link show $1) in *LOWER_UP*) return 0 ;; esac
        usleep 100000
    done
    echo "$1 has no link" >&2
    return 1
}
