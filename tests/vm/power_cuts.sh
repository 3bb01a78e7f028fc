# Kills the emulator at random moments, and boots again on what its memory and its disk then hold. Read by tests/vm/run.
#
# COMMAND says `acknowledged NAME NUMBER` on a line when it may rely on something, and works until it is killed. At the
# next start it finds the last number of each name in VM_ACKNOWLEDGED (`pool=17,page=3`), and compares; what is wrong
# it says, and ends with another exit code than 0. After the last cut VM_LAST is set: it only compares.
#
# The memory of the NVDIMM is the host's page cache, so that a cut loses none of its stores; the page cache of the guest
# is lost, and with it what was written to the disk and not synced.

declare -A heard=()

# Takes in what was acknowledged; a line that the cut ended early does not count.
hear() {
    local name number
    while read -r name number; do heard[$name]=$number; done < <(
        sed -n 's/^acknowledged \([a-z-]*\) \([0-9]*\)\r$/\1 \2/p' "$scratch/output" | awk '{ last[$1] = $2 } END { for (name in last) print name, last[name] }'
    )
}

acknowledgements() {
    local name list=()
    for name in "${!heard[@]}"; do list+=("$name=${heard[$name]}"); done
    local IFS=,
    echo "${list[*]}"
}

# The command's exit code, or 125: it is to work until it is killed.
ended_early() {
    local code=0
    wait_for_end || code=$?
    echo "tests/vm/run: the command ended before its power was cut" >&2
    [ $code != 0 ] || code=125
    return $code
}

power_cuts() {
    local cut deadline
    for ((cut = 1; cut <= cuts; cut++)); do
        settings=("VM_ACKNOWLEDGED=$(acknowledgements)")
        job_image "$@"
        boot
        deadline=$((SECONDS + limit))
        # Every other cut may come before anything is acknowledged: while the command recovers, say.
        local moment=VM-READY file="$console"
        [ $((cut % 2)) = 0 ] || { moment=acknowledged file="$scratch/output"; }
        until grep -q "^$moment" "$file"; do
            if ! alive; then ended_early; return; fi
            [ $SECONDS -lt $deadline ] || { cut_power; keep_console "no '$moment' within $limit s"; return 125; }
            sleep 0.05
        done
        sleep "$((RANDOM % 3)).$((RANDOM % 1000))"
        if ! alive; then ended_early; return; fi
        cut_power
        hear
        sed -n '/^acknowledged /d; s|\r$||p' "$scratch/output" # whole lines only
        echo "power cut $cut; acknowledged so far: $(acknowledgements)"
    done
    settings=("VM_ACKNOWLEDGED=$(acknowledgements)" VM_LAST=1)
    job_image "$@"
    boot
    wait_for_end
}
