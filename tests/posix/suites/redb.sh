about="redb: its own tests, on files of the mount"
size=4G
version=4.6.0

suite() {
    # Its sources, with its tests.
    unpack redb $version "$TOOLS/redb"
    cd "$TOOLS/redb"
    local tests=(basic_tests integration_tests multimap_tests multithreading_tests crash_consistency)
    CARGO_PROFILE_TEST_OPT_LEVEL=1 cargo test --quiet --no-run --target-dir "$TOOLS/build" $(printf -- '--test %s ' "${tests[@]}")
    mkdir "$mnt/files"
    TMPDIR="$mnt/files" CARGO_PROFILE_TEST_OPT_LEVEL=1 cargo test --target-dir "$TOOLS/build" $(printf -- '--test %s ' "${tests[@]}") | tee "$SCRATCH/said"
    say "$(awk '/^test result: ok/ { n += $4 } END { print n }' "$SCRATCH/said") tests"
    cd /
}
