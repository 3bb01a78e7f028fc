about="rsync: trees in and out, changed and followed, compared by hash"
needs=(rsync=rsync setfattr=attr)
size=512M

suite() {
    # (By itself, rsync takes times within one second for the same.)
    local flags=(-aHAXS --numeric-ids --specials --modify-window=-1)
    odd_tree "$SCRATCH/tree"
    rsync "${flags[@]}" "$SCRATCH/tree/" "$mnt/tree/"
    same "$SCRATCH/tree" "$mnt/tree"
    # A tree that changes: grown, cut off, overwritten in the middle, renamed, removed.
    (
        cd "$SCRATCH/tree"
        head -c 100000 /dev/urandom >>random
        dd if=/dev/urandom of=sparse bs=4096 count=7 seek=333 conv=notrunc status=none
        truncate -s 1000 README.md && mv deep deeper && rm -r nova-core && chmod 600 Cargo.toml && ln -sfn random soft
    )
    rsync "${flags[@]}" --delete --checksum "$SCRATCH/tree/" "$mnt/tree/"
    same "$SCRATCH/tree" "$mnt/tree"
    head -c 5000 /dev/urandom | dd of="$SCRATCH/tree/random" bs=5000 seek=3 conv=notrunc status=none
    rsync -aHAX --numeric-ids --modify-window=-1 --inplace --no-whole-file --delete --checksum "$SCRATCH/tree/" "$mnt/tree/"
    same "$SCRATCH/tree" "$mnt/tree"
    rsync "${flags[@]}" "$mnt/tree/" "$SCRATCH/out/"
    same "$SCRATCH/tree" "$SCRATCH/out"
    say "$(find "$SCRATCH/tree" | wc -l) files"
}
