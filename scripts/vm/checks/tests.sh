# Our own tests, built on the host: each line of tests.list is a name, the folder to run in, and the binary
# shellcheck shell=bash
failed=0
while IFS=$'\t' read -r name folder binary; do
    (cd "$folder" && timeout 400 "$binary" --test-threads=2 </dev/null >/run/tmp/out 2>/run/tmp/err)
    code=$?
    sed -n 's/^SKIPPED: /SKIPPED\t/p' /run/tmp/err | sed 's/: /\t/' >/run/tmp/skipped
    [ $code = 0 ] || failed=1
    awk -F'\t' -v of="$name" -v code=$code '
        FILENAME == ARGV[1] { why[$2] = $3; next }
        /^test .* \.\.\. / {
            test = $0; sub(/^test /, "", test); sub(/ \.\.\. .*/, "", test)
            if ($0 ~ /\.\.\. ok$/) print ((test in why) ? "SKIPPED " of " " test ": " why[test] : "ok " of " " test)
            else if ($0 ~ /\.\.\. FAILED$/) print "FAIL " of " " test
            next
        }
        /^test result: / { ended = 1 }
        /^(failures:|---- |test result: |running )/ { block = /^---- /; if (block) print "    " $0; next }
        block && NF { print "    " substr($0, 1, 400); last = $0 }
        { tail = $0 }
        END { if (!ended) print "FAIL " of ": ended early with code " code ": " tail }
    ' /run/tmp/skipped /run/tmp/out
    echo "# $name: $(cut -d' ' -f1 /proc/uptime) s up"
done <tests.list
exit $failed
