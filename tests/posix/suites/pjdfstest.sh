about="pjdfstest: what POSIX says of every file system call, case by case"
crates=(pjdfstest@0.2.2)
size=256M

suite() {
    local second="$SCRATCH/second" listed ran skipped
    mkdir "$second" && mount -t tmpfs none "$second"
    # The cases of read-only filesystems remount; the suite itself keeps files open in other cases, so that they need a process of their own.
    settings false "$second" >"$SCRATCH/pjdfstest.toml"
    settings true "$second" >"$SCRATCH/erofs.toml"
    pjdfstest -c "$SCRATCH/pjdfstest.toml" -p "$mnt" | tee "$SCRATCH/most" || fail "pjdfstest"
    pjdfstest -c "$SCRATCH/erofs.toml" -p "$mnt" erofs | tee "$SCRATCH/erofs" || fail "pjdfstest on a read-only filesystem"
    umount "$second"
    # What was not run is what is listed, no more and no less.
    cases skipped "$SCRATCH/most" "$SCRATCH/erofs" | grep -v erofs | sort >"$SCRATCH/skipped" || true
    sed -n 's/^\([^# ][^ ]*\).*/\1/p' "$HERE/pjdfstest.exceptions" | sort >"$SCRATCH/listed"
    diff "$SCRATCH/listed" "$SCRATCH/skipped" || fail "cases were skipped that pjdfstest.exceptions does not list, or the other way"
    ran=$(($(cases ok "$SCRATCH/most" | wc -l) + $(cases ok "$SCRATCH/erofs" | wc -l)))
    skipped=$(wc -l <"$SCRATCH/skipped")
    [ $((ran + skipped)) -ge 398 ] || fail "there are 398 cases, and $ran ran"
    say "$ran cases pass, $skipped cannot be run"
}

# cases RESULT FILE...: the names of those that ended so.
cases() {
    local result="$1"
    shift
    sed 's/\x1b\[[0-9;]*m//g' "$@" | awk -v result="$result" '$NF == result && $1 ~ /::/ { print $1 }'
}

settings() {
    cat <<TOML
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
secondary_fs = "$2"
[settings]
naptime = 0.01
allow_remount = $1
expected_failures = []
[dummy_auth]
entries = [["nobody", "$(id -gn nobody)"], ["daemon", "$(id -gn daemon)"]]
TOML
}
