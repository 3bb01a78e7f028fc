about="PostgreSQL: initdb, pgbench, its server killed while it runs, recovery"
needs=(initdb=postgresql pgbench=postgresql)
size=2G

user=nobody sockets="" data="" bin="" server=""

# as COMMAND...: as a user that is not root.
as() { (cd / && exec setpriv --reuid="$(id -u $user)" --regid="$(id -g $user)" --clear-groups env HOME="$sockets" PATH="$bin:$PATH" PGHOST="$sockets" \
    PGDATABASE=postgres LC_ALL=C "$@"); }

suite() {
    local kills=2 scale=3 round acknowledged there
    if [ "$FULL" = 1 ]; then kills=10 scale=10; fi
    bin="$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -1)")"
    sockets="$SCRATCH/sockets" data="$mnt/data"
    mkdir "$sockets" "$data"
    chown $user "$sockets" "$data"
    as initdb --data-checksums -A trust "$data"
    start
    as pgbench -i -q -s $scale
    for round in $(seq $kills); do
        # Every transaction leaves a line of history; who waited for its commit counts it.
        as pgbench -n -c 4 -j 2 -T 60 -l --log-prefix="$sockets/round-$round" >/dev/null 2>&1 &
        local bench=$!
        sleep "$((RANDOM % 3 + 2)).$((RANDOM % 10))"
        kill -9 "$(head -1 "$data/postmaster.pid")"
        wait $bench || true
        wait $server || true
        server=""
        await_nobody
        start
        # The last line of a log may be cut off.
        acknowledged=$(cat "$sockets"/round-*.[0-9]* | wc -l)
        there=$(ask 'select count(*) from pgbench_history')
        [ "$there" -ge "$acknowledged" ] || fail "$acknowledged transactions were acknowledged, and $there are there"
        balances
    done
    as pg_amcheck --install-missing --heapallindexed
    as pg_ctl -D "$data" stop -m fast
    wait $server
    server=""
    as pg_checksums -D "$data" --check
    say "$there transactions, its server killed $kills times"
}

start() {
    as postgres -D "$data" -c listen_addresses= -c unix_socket_directories="$sockets" -c max_wal_size=64MB -c checkpoint_timeout=30s &
    server=$!
    local tries
    for tries in $(seq 600); do
        if as pg_isready -q; then return; fi
        kill -0 $server || fail "PostgreSQL does not start"
        sleep 0.1
    done
    fail "PostgreSQL does not answer"
}

ask() { as psql -qAt -c "$1"; }

# The invariant of pgbench.
balances() {
    local sums
    sums=$(ask 'select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
        (select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from pgbench_history)')
    awk -F'|' '{ exit !($1 == $2 && $2 == $3 && $3 == $4) }' <<<"$sums" || fail "balances differ: $sums"
}

# The processes of a killed server notice, and end.
await_nobody() {
    local tries cwd
    for tries in $(seq 600); do
        for cwd in /proc/[0-9]*/cwd; do
            if [[ "$(readlink "$cwd" 2>/dev/null)" == "$data"* ]]; then
                sleep 0.1
                continue 2
            fi
        done
        return
    done
    fail "processes of the killed server go on"
}

suite_end() {
    if [ -n "$server" ] && [ -e "$data/postmaster.pid" ]; then
        kill -QUIT "$(head -1 "$data/postmaster.pid")" 2>/dev/null || true
        wait "$server" || true
        await_nobody
    fi
}
