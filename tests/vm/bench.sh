#!/bin/sh
# The comparison of `nova bench` on the guest's DAX filesystem, for its counts: lines, drains, device flushes. Where the processor is emulated, times mean nothing.
#
#   cargo build --release -p benches --bin nova-bench
#   tests/vm/run --add target/release/nova-bench tests/vm/bench.sh --quick
set -eu
export BENCH_DIR=/mnt
cd /job
exec ./nova-bench "$@"
