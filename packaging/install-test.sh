#!/usr/bin/env bash
# install-test.sh BINARY: `make install` of that program lays every file, each of use; `make uninstall` takes all away.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "install-test: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }

make -s install DESTDIR="$dir" PREFIX=/usr XHINT="$binary"
usr=$dir/usr
man=$usr/share/man/man1

# A page for each verb that the help names, and nothing but what is listed here.
verbs() { "$binary" "$@" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]\+\).*/\1/p' | grep -v '^help$' || true; }
pages=(xhint)
for verb in $(verbs); do
    pages+=("xhint-$verb")
    for inner in $(verbs "$verb"); do pages+=("xhint-$verb-$inner"); done
done
cat >"$dir/expected" <<LIST
bin/xhint
include/xhint.h
lib/systemd/system/xhint@.service
share/bash-completion/completions/xhint
share/fish/vendor_completions.d/xhint.fish
share/pkgconfig/xhint.pc
share/zsh/site-functions/_xhint
$(printf 'share/man/man1/%s.1\n' "${pages[@]}")
$(printf 'share/doc/xhint/%s\n' README.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md COPYING.md LICENSE-* docs/*.md)
$(printf 'share/doc/xhint/examples/%s\n' hints.bpf.c Makefile device.conf)
$(cd examples && printf 'share/doc/xhint/examples/%s\n' nics/*.[ch])
LIST
diff <(LC_ALL=C sort "$dir/expected") <(cd "$usr" && find . -type f -printf '%P\n' | LC_ALL=C sort) ||
    fail "the files installed are not those listed (<)"

"$usr/bin/xhint" --version >/dev/null
grep -q 'xhint attach prog.o' "$man/xhint-attach.1" || fail "xhint-attach.1 shows no example"
if have man; then
    said=$(LC_ALL=C.UTF-8 man --warnings -l "$man"/*.1 2>&1 >/dev/null)
    [ -z "$said" ] || fail "man: $said"
fi

# The shells take the completions.
bash -c 'source "$1" && complete -p xhint' - "$usr/share/bash-completion/completions/xhint" >/dev/null
if have zsh; then zsh -n "$usr/share/zsh/site-functions/_xhint"; fi
if have fish; then fish -n "$usr/share/fish/vendor_completions.d/xhint.fish"; fi

# By what pkg-config says, the example is compiled against the header where it is now.
export PKG_CONFIG_PATH=$usr/share/pkgconfig
[ "$(pkg-config --modversion xhint)" = "$("$binary" --version | cut -d' ' -f2)" ] || fail "pkg-config has another version"
cflags=$(pkg-config --define-variable=prefix="$usr" --cflags xhint | sed 's/ *$//')
[ "$cflags" = "-I$usr/include" ] || fail "pkg-config --cflags: $cflags"
# shellcheck disable=SC2086
${CLANG:-clang} -O2 -g -Werror -target bpf $cflags "-I/usr/include/$(uname -m)-linux-gnu" \
    -c "$usr/share/doc/xhint/examples/hints.bpf.c" -o "$dir/hints.bpf.o"

# The unit is one, and its program is there.
if have systemd-analyze; then
    said=$(systemd-analyze verify --root="$dir" --recursive-errors=no --man=no xhint@eth0.service 2>&1) || fail "$said"
    [ -z "$said" ] || fail "systemd-analyze verify: $said"
fi

make -s uninstall DESTDIR="$dir" PREFIX=/usr
rest=$(find "$usr" -type f)
[ -z "$rest" ] || fail "uninstall leaves $rest"
echo "install-test: ${#pages[@]} manual pages and all other files are laid, of use, and taken away"
