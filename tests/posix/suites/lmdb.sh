about="LMDB: its own test programs, each with a check and a copy"
needs=(cc=gcc make=make)
size=1G
version=0.2.5

suite() {
    # The crate that binds LMDB has its sources and their tests.
    unpack lmdb-master-sys $version "$TOOLS/lmdb"
    local built="$TOOLS/lmdb/lmdb/libraries/liblmdb" rounds=3 round test
    [ "$FULL" = 0 ] || rounds=30
    # (`mtest6` is for builds of LMDB that print what they do.)
    make -s -C "$built" XCFLAGS=-w mtest mtest2 mtest3 mtest4 mtest5 mdb_stat mdb_copy mdb_dump mdb_load
    cd "$mnt"
    for round in $(seq $rounds); do
        for test in mtest mtest2 mtest3 mtest4 mtest5; do
            rm -rf testdb && mkdir testdb
            "$built/$test" >"$SCRATCH/said" 2>&1 || { tail "$SCRATCH/said"; fail $test; }
            "$built/mdb_stat" -e -f -a testdb >/dev/null || fail "$test: mdb_stat"
            rm -rf copy loaded && mkdir copy loaded
            "$built/mdb_copy" -c testdb copy
            "$built/mdb_dump" -a testdb >"$SCRATCH/dump"
            "$built/mdb_dump" -a copy | cmp - "$SCRATCH/dump" || fail "$test: the copy differs"
        done
    done
    say "$rounds rounds of 5 programs"
    cd /
}
