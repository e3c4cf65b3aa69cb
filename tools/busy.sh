#!/bin/bash
# Runs a command, by default the tests, on a machine that has other work: two busy loops for each CPU run
# beside it, and end with it or after LIMIT seconds (default 3600), whichever is first.
#
#   tools/busy.sh                                    # cargo test
#   tools/busy.sh cargo test --test namespaces waits
#   LOOPS=6 tools/busy.sh ...                        # six loops for each CPU
set -u
cd "$(dirname "$0")/.."
limit=${LIMIT:-3600}
loops=()
trap 'kill "${loops[@]}" 2>/dev/null' EXIT
# Each on its CPU: left to itself the scheduler would put them where the command is not.
for cpu in $(python3 -c 'import os; print(*os.sched_getaffinity(0))'); do
    for ((i = 0; i < ${LOOPS:-2}; i++)); do
        taskset -c "$cpu" timeout "$limit" bash -c 'while :; do :; done' &
        loops+=($!)
    done
done
(($#)) || set -- cargo test
timeout --foreground "$limit" "$@"
