about="dbench: what a file server's clients do"
needs=(dbench=dbench)
size=1G

suite() {
    local seconds=10
    [ "$FULL" = 0 ] || seconds=60
    dbench -D "$mnt" -t "$seconds" 4 | tee "$SCRATCH/said"
    # (dbench goes on after errors.)
    ! grep -iE 'failed|error|expected' "$SCRATCH/said" || fail "dbench met errors"
    say "4 clients, $(grep Throughput "$SCRATCH/said" | awk '{ print $2, $3 }')"
}
