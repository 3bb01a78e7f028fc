about="fio: random, unaligned, asynchronous, mapped and sequential writes, verified by checksums"
needs=(fio=fio)
size=4G

suite() {
    local bytes=32m
    [ "$FULL" = 0 ] || bytes=256m
    # A kernel may lack io_uring, or forbid it.
    local skip=()
    if ! fio --name=probe --ioengine=io_uring --size=4k --rw=read --directory="$SCRATCH" >/dev/null 2>&1; then
        skip=(ring)
    fi
    local jobs
    jobs=$(sed -n 's/^\[\(.*\)\]$/\1/p' "$HERE/fio.ini" | grep -v '^global$' | grep -vx "${skip[0]:-none}")
    SIZE=$bytes fio --directory="$mnt" $(printf -- '--section=%s ' $jobs) "$HERE/fio.ini"
    say "$bytes by each of:" $jobs
}
