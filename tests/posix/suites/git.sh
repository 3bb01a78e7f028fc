about="git: a clone of this repository, old revisions, branches, gc, fsck"
needs=(git=git)
size=1G

export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org

suite() {
    local source="$ROOT" clone="$mnt/clone" revision commits head
    if ! git -C "$ROOT" rev-parse HEAD >/dev/null 2>&1; then
        source="$mnt/source"
        mkdir "$source"
        tar -C "$ROOT" --exclude=./target -cf - . | tar -C "$source" -xf -
        git -C "$source" init -q && git -C "$source" add -A && git -C "$source" commit -qm all
    fi
    git clone -q --no-local "$source" "$clone"
    clean_clone "$clone"
    [ "$(git -C "$clone" rev-parse 'HEAD^{tree}')" = "$(git -C "$source" rev-parse 'HEAD^{tree}')" ] || fail "another tree"
    head=$(git -C "$clone" rev-parse HEAD)
    commits=$(git -C "$clone" rev-list --count HEAD)
    for revision in $(git -C "$clone" rev-list HEAD | awk -v every=$((commits / 8 + 1)) 'NR % every == 0'); do
        git -C "$clone" checkout -q "$revision"
        clean_clone "$clone" quick
    done
    git -C "$clone" checkout -q -b side "$head"
    for n in $(seq 20); do
        echo "$n" >>"$clone/README.md" && git -C "$clone" commit -qam "change $n"
    done
    git -C "$clone" gc -q $([ "$FULL" = 0 ] || echo --aggressive) --prune=now
    clean_clone "$clone"
    git clone -q "$clone" "$mnt/second" # with hard links
    git -C "$mnt/second" worktree add -q "$mnt/tree" HEAD~10
    clean_clone "$mnt/second"
    say "$commits commits"
}

clean_clone() {
    [ -z "$(git -C "$1" status --porcelain)" ] || fail "git status: $(git -C "$1" status --porcelain | head)"
    [ "${2:-}" = quick ] || git -C "$1" fsck --full --strict
}
