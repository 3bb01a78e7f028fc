about="tar: trees with files of all kinds, in and out, compared by hash"
needs=(tar=tar)
size=512M

suite() {
    local flags=(--xattrs --sparse --numeric-owner)
    odd_tree "$SCRATCH/tree"
    tar -C "$SCRATCH/tree" "${flags[@]}" -cf "$mnt/in.tar" .
    mkdir "$mnt/tree" "$SCRATCH/out"
    tar -C "$mnt/tree" "${flags[@]}" -xpf "$mnt/in.tar"
    same "$SCRATCH/tree" "$mnt/tree"
    [ "$(stat -c %b "$mnt/tree/sparse")" -lt 100 ] || fail "a sparse file has become a full one"
    tar -C "$mnt/tree" "${flags[@]}" -czf "$mnt/out.tar.gz" .
    tar -C "$SCRATCH/out" "${flags[@]}" -xzpf "$mnt/out.tar.gz"
    same "$SCRATCH/tree" "$SCRATCH/out"
    cp -a "$mnt/tree" "$mnt/copy"
    same "$SCRATCH/tree" "$mnt/copy"
    close_volume && open_volume
    same "$SCRATCH/tree" "$mnt/copy"
    say "$(find "$SCRATCH/tree" | wc -l) files"
    rm -rf "$mnt/tree" "$mnt/copy"
}
