about="redb: its own tests, on files of the mount"
size=4G
version=4.6.0

suite() {
    # Its sources, with its tests.
    unpack redb $version "$TOOLS/redb"
    cd "$TOOLS/redb"
    local tests=(basic_tests integration_tests multimap_tests multithreading_tests crash_consistency)
    cargo test --quiet --no-run --target-dir "$TOOLS/build" $(printf -- '--test %s ' "${tests[@]}")
    mkdir "$mnt/files"
    TMPDIR="$mnt/files" cargo test --target-dir "$TOOLS/build" $(printf -- '--test %s ' "${tests[@]}") | tee "$SCRATCH/said"
    local ran
    ran=$(awk '/^test result: ok/ { n += $4 } END { print n + 0 }' "$SCRATCH/said")
    [ "$ran" -ge 200 ] || fail "$ran tests ran"
    say "$ran tests"
    cd /
}
