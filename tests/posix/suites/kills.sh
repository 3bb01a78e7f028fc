about="SIGKILL: the daemon is killed while programs change files, and git commits; what was done is there, and the check is clean"
needs=(git=git)

suite() {
    local kills=10
    [ "$FULL" = 0 ] || kills=100
    NOVA_KILLS=$kills TMPDIR="$SCRATCH" cargo test --quiet --release --manifest-path "$ROOT/Cargo.toml" -p nova-cli --test killed -- \
        --nocapture --test-threads 1 | tee "$SCRATCH/said"
    # (A filter that matches nothing is a success for cargo, and so is a test that cannot run.)
    [ "$(grep -c "^$kills kills, " "$SCRATCH/said")" = 2 ] || fail "not both tests ran"
    say "$(grep kills, "$SCRATCH/said" | tr '\n' ';' | sed 's/;$//; s/;/; /g')"
}
