about="sqlite3: every journal mode, two writers, a writer that is killed"
needs=(sqlite3=sqlite3)
size=256M

suite() {
    local mode rows=5000 rounds=3
    if [ "$FULL" = 1 ]; then rows=50000 rounds=20; fi
    for mode in delete truncate persist wal; do
        local file="$mnt/$mode.db" said
        said=$(sqlite3 "$file" "pragma journal_mode=$mode; pragma mmap_size=16777216; create table t(a integer primary key, b text);
            with recursive n(x) as (select 1 union all select x+1 from n where x < $rows)
                insert into t select x, hex(randomblob(40)) from n;
            update t set b = 'even' where a % 2 = 0; delete from t where a % 10 = 0; create index i on t(b); vacuum;
            select 'rows ' || count(*) from t;")
        grep -qx "rows $((rows - rows / 10))" <<<"$said" || fail "$mode: $said"
        whole "$file"
        writers "$file"
        killed "$file" "$rounds"
    done
    say "4 journal modes; writers killed $((4 * rounds)) times"
}

whole() {
    local said
    said=$(sqlite3 "$1" "pragma integrity_check;")
    [ "$said" = ok ] || fail "$1: $said"
}

# Two processes add to one counter, in transactions.
writers() {
    local n pids=() pid
    sqlite3 "$1" "create table c(n integer); insert into c values (0);"
    for n in 1 2; do
        { echo ".timeout 60000"; for _ in $(seq 100); do echo "begin immediate; update c set n = n + 1; commit;"; done; } |
            sqlite3 -bail "$1" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    [ "$(sqlite3 "$1" "select n from c")" = 200 ] || fail "$1: a transaction of two writers is lost"
    whole "$1"
}

# Who writes is killed; every commit that it acknowledged is there.
killed() {
    local round acknowledged there pid
    sqlite3 "$1" "create table k(n integer primary key, b blob);"
    for round in $(seq "$2"); do
        : >"$SCRATCH/acknowledged"
        # (`wal` is durable by commit with synchronous=full.)
        exec 7> >(exec sqlite3 "$1" >"$SCRATCH/acknowledged" 2>/dev/null)
        pid=$!
        { for n in $(seq 100000); do
            echo "insert into k values ((select coalesce(max(n), 0) + 1 from k), randomblob(500)); select max(n) from k;"
        done >&7; } 2>/dev/null &
        local feeder=$!
        sleep "0.$((RANDOM % 5 + 2))"
        kill -9 "$pid" && { wait "$pid" || true; } 2>/dev/null
        exec 7>&-
        kill "$feeder" 2>/dev/null || true
        wait "$feeder" 2>/dev/null || true
        acknowledged=$(tail -1 "$SCRATCH/acknowledged")
        there=$(sqlite3 "$1" "select coalesce(max(n), 0) from k")
        # A line may be cut off where it was killed, which only makes it smaller.
        [ "$there" -ge "${acknowledged:-0}" ] || fail "$1: $acknowledged commits were acknowledged, and $there are there"
        whole "$1"
    done
}
