#!/usr/bin/env bash
# Prints the crates that the program contains and their licences, then the texts of these, each once.
set -euo pipefail
cd "$(dirname "$0")/.."
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
declare -A users=() texts=()

echo "The program xhint contains these crates:"
echo
while IFS='|' read -r name version licence; do
    echo "  $name $version: $licence"
    for dir in "$registry"/*/"$name-${version#v}"; do
        # libbpf-sys brings libbpf, in C, in a folder of its own.
        while read -r file; do
            sum=$(sha256sum <"$file" | cut -d' ' -f1)
            texts[$sum]=$file
            users[$sum]+=", $name"
        done < <(find "$dir" "$dir/libbpf" -maxdepth 1 -type f 2>/dev/null \
            \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'copyright*' \) | LC_ALL=C sort)
    done
done < <("${CARGO:-cargo}" tree --locked -p xhint-cli --edges normal,no-proc-macro --prefix none --format '{p}|{l}' |
    sed -n 's/ (\*)$//; s/^\([^ ]*\) \(v[^ ()|]*\)|/\1|\2|/p' | LC_ALL=C sort -u)

for sum in $(for one in "${!users[@]}"; do echo "${users[$one]#, } $one"; done | LC_ALL=C sort | awk '{print $NF}'); do
    printf '\n%s\n%s:\n\n' '------------------------------------------------------------' "${users[$sum]#, }"
    cat "${texts[$sum]}"
done
