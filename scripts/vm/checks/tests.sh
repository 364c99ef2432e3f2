# Our own tests, built on the host: each line of tests.list is a name, the folder to run in, and the binary
#   TEST_TIMEOUT=300   seconds a test
# shellcheck shell=bash
failed=0
limit=${TEST_TIMEOUT:-300}
# A machine without KVM is slow, and `make test` does more of what is random: here it is fewer rounds by the same rules.
export XHINT_RANDOM_FILES=${XHINT_RANDOM_FILES:-1} XHINT_STRESS=${XHINT_STRESS:-2}

# A process each, so that one which hangs or dies has a name and takes no other with it.
one() { # NAME FOLDER BINARY TEST
    local code begin=$SECONDS
    (cd "$2" && timeout -k 10 "$limit" "$3" --exact "$4" --test-threads=1 </dev/null >/run/tmp/out 2>/run/tmp/err)
    code=$?
    grep -q '^test result: ok. 0 passed' /run/tmp/out && return
    if [ $code = 0 ] && grep -q '^SKIPPED: ' /run/tmp/err; then
        echo "SKIPPED $1 $4: $(sed -n 's/^SKIPPED: [^ ]*: //p' /run/tmp/err | head -1)"
    elif [ $code = 0 ]; then
        echo "ok $1 $4, $((SECONDS - begin)) s"
    else
        failed=1
        case $code in
        124 | 137) echo "FAIL $1 $4: not at its end after $limit s" ;;
        101) echo "FAIL $1 $4" ;;
        *) echo "FAIL $1 $4: ended with code $code" ;;
        esac
        grep -vhE '^(running |test |failures:|note: |$)' /run/tmp/out /run/tmp/err | cut -c1-400 >/run/tmp/said
        { head -5 /run/tmp/said && tail -n +6 /run/tmp/said | tail -35; } | sed 's/^/    /'
    fi
}

while IFS=$'\t' read -r name folder binary; do
    mapfile -t tests < <("$binary" --list --format terse | sed -n 's/: test$//p')
    for test in "${tests[@]}"; do one "$name" "$folder" "$binary" "$test"; done
    echo "# $name: $(cut -d' ' -f1 /proc/uptime) s up"
done <tests.list
exit $failed
