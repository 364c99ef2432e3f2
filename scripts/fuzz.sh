#!/usr/bin/env bash
# Coverage-guided fuzzing with stable Rust: FUZZ names a target (all in turn if empty), FUZZ_SECONDS how long for each.
# What libFuzzer finds stays in fuzz/corpus and fuzz/artifacts, which git ignores.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v c++ >/dev/null || { echo "fuzz: libFuzzer is C++; install g++" >&2; exit 1; }
target_dir=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release -p xhint-fuzz --bin smoke
smoke=$target_dir/release/smoke

host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz passes, less the sanitizer, which stable Rust does not have; safe code has little use for it. With
# --target, flags do not reach build scripts and macros, which could not be linked with them.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
 -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks --cfg fuzzing" \
    cargo build --release -p xhint-fuzz --features guided --bin guided --target "$host" --target-dir "$target_dir/fuzz"
guided=$target_dir/fuzz/$host/release/guided

targets=${FUZZ:-$("$smoke" --list)}
for target in $targets; do
    corpus=fuzz/corpus/$target artifacts=fuzz/artifacts/$target
    mkdir -p "$corpus" "$artifacts"
    "$smoke" --seeds "$target" "$corpus"
    echo "fuzz: $target for ${FUZZ_SECONDS:-60} s"
    XHINT_FUZZ=$target "$guided" "$corpus" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=1024 \
        -max_len=65536 -len_control=0 -artifact_prefix="$artifacts/" -print_final_stats=1
done
