#!/bin/sh
# In the guest: test programs of this workspace, which were added to it; prints what they print, and how many tests passed.
#   tests/vm/run --add target/debug/deps/dax-... [--add ...] tests/vm/suite.sh [FILTER]...
cd "$(dirname "$0")" || exit 1
ran=0
for program in ./*-*; do
    [ -x "$program" ] || continue
    "$program" --test-threads=1 --nocapture "$@" >/tmp/said 2>&1 || { cat /tmp/said; echo "FAILED: $program"; exit 1; }
    grep -v '^$' /tmp/said
    passed=$(sed -n 's/^test result: ok. \([0-9]*\) passed.*/\1/p' /tmp/said | tail -n 1) # the last: some tests run themselves again
    ran=$((ran + ${passed:-0}))
done
echo "ok suite    $ran tests passed"
[ $ran -gt 0 ]
