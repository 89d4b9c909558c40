#!/bin/sh
#
# NAME:  @NAME@
# VER:   @VERSION@
# PLAT:  linux-64
#
# The nbfleet STAND-IN distribution: a test double of Miniconda with the same options and behaviour, made from wheels
# and Debian packages. It is not a product of Anaconda, and no package in it was built by Anaconda or conda-forge.

set -eu

unset LD_LIBRARY_PATH LD_PRELOAD CONDARC MAMBARC PYTHONHOME PYTHONSTARTUP

case "$0" in
    *.sh) ;;
    *)
        printf 'Please run using "bash"/"dash"/"sh"/"zsh", but not "." or "source".\n' >&2
        exit 1
        ;;
esac

THIS_DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
THIS_FILE=$(basename -- "$0")
THIS_PATH="$THIS_DIR/$THIS_FILE"
PREFIX="${HOME:-/opt}/miniconda3"
NEEDED=@NEEDED@
GLIBC_MINOR=@GLIBC_MINOR@
BATCH=0
FORCE=0
INIT=0

usage() {
    cat <<EOF

usage: $THIS_FILE [options]

Installs @NAME@ @VERSION@ (nbfleet stand-in)
-b           run install in batch mode (without manual intervention),
             it is expected the license terms (if any) are agreed upon
-f           no error if install prefix already exists
-h           print this help message and exit
-p PREFIX    install prefix, defaults to $PREFIX, must not contain spaces.
-s           skip running pre/post-link/install scripts
-m           disable the creation of menu items / shortcuts
-u           update an existing installation
-t           run package tests after installation (may install conda-build)
-c           run 'conda init' after installation (only applies to batch mode)
EOF
}

while getopts "bfhp:smutc" option; do
    case "$option" in
        b) BATCH=1 ;;
        f | u) FORCE=1 ;;
        p) PREFIX="$OPTARG" ;;
        s | m | t) ;;
        c) INIT=1 ;;
        h)
            usage
            exit 2
            ;;
        *)
            printf "ERROR: did not recognize option '%s', please try -h\n" "$option"
            exit 1
            ;;
    esac
done

# The lowest glibc is that of the Debian whose Python this is.
libc=${CONDA_OVERRIDE_GLIBC:-}
if [ -z "$libc" ]; then
    for word in $(ldd --version 2>&1 | head -n 1); do
        libc=$word
    done
fi
case "$libc" in
    [0-9]*.[0-9]*)
        major=${libc%%.*}
        minor=${libc#*.}
        minor=${minor%%[!0-9]*}
        if [ "$major" -lt 2 ] || { [ "$major" -eq 2 ] && [ "$minor" -lt "$GLIBC_MINOR" ]; }; then
            printf 'Installer requires GLIBC >=2.%s, but system has %s.\n' "$GLIBC_MINOR" "$libc"
            exit 1
        fi
        ;;
    *)
        printf 'Installer requires GLIBC >=2.%s, but this system seems to have another C library.\n' "$GLIBC_MINOR"
        exit 1
        ;;
esac

if [ "$BATCH" -eq 0 ]; then
    cat <<EOF

Welcome to @NAME@ @VERSION@ (nbfleet stand-in)

In order to continue the installation process, please review the license
agreement.
Please, press ENTER to continue
EOF
    printf '>>> '
    read -r answer || exit 1
    printf '%s\n' 'Each package stands under its own licence; see info/about.json in PREFIX/pkgs.'
    printf '\nDo you accept the license terms? [yes|no]\n>>> '
    read -r answer || exit 1
    case "$answer" in
        [Yy][Ee][Ss]) ;;
        *)
            printf "The license agreement wasn't approved, aborting installation.\n"
            exit 2
            ;;
    esac
    printf '\n@NAME@ will now be installed into this location:\n%s\n' "$PREFIX"
    printf '  - Press ENTER to confirm the location, or specify a different one below\n>>> '
    read -r answer || exit 1
    if [ -n "$answer" ]; then
        PREFIX="$answer"
    fi
fi

case "$PREFIX" in
    *" "*)
        printf 'ERROR: Cannot install into directories with spaces\n' >&2
        exit 1
        ;;
    /*) ;;
    *) PREFIX="$(pwd)/$PREFIX" ;;
esac
PREFIX=${PREFIX%/}

if [ "$FORCE" -eq 0 ] && [ -e "$PREFIX" ]; then
    printf "ERROR: File or directory already exists: '%s'\n" "$PREFIX" >&2
    printf 'If you want to update an existing installation, use the -u option.\n' >&2
    exit 1
fi

payload() {
    tail -c +@OFFSET@ "$THIS_PATH" | head -c @SIZE@
}

# Stricter than the vendor's, which only warns: a damaged file stops here, and nothing has been made yet.
sum=$(payload | sha256sum)
sum=${sum%% *}
if [ "$sum" != "@SHA256@" ]; then
    printf 'WARNING: sha256sum mismatch of tar archive\nexpected: @SHA256@\n     got: %s\n' "$sum" >&2
    printf 'ERROR: The installer is damaged or incomplete; download it again.\n' >&2
    exit 1
fi

if ! mkdir -p "$PREFIX"; then
    printf "ERROR: Could not create directory: '%s'.\n" "$PREFIX" >&2
    printf 'Check permissions and available disk space (%s MB needed).\n' "$NEEDED" >&2
    exit 1
fi

free=$(df -Pk "$PREFIX" | {
    read -r _
    read -r _ _ _ kilobytes _
    echo "$kilobytes"
})
free=$((free / 1024 - 50))
if [ "$free" -lt "$NEEDED" ]; then
    printf 'ERROR: Not enough free disk space. Only %s MB are available, but %s MB are required (leaving a 50 MB buffer).\n' \
        "$free" "$NEEDED" >&2
    exit 1
fi

PREFIX=$(CDPATH='' cd -- "$PREFIX" && pwd)
export PREFIX
printf 'PREFIX=%s\n' "$PREFIX"
printf 'nbfleet stand-in distribution: a test double, not a product of Anaconda\n'

printf 'Unpacking bootstrapper...\n'
if [ "$(id -u)" -ne 0 ]; then
    : > "$PREFIX/.nonadmin"
fi
cat > "$PREFIX/_conda" <<'EOF'
#!/bin/sh
# The bootstrapper of the nbfleet stand-in: runs the Python that lies unpacked in PREFIX/pkgs, before anything is linked.
pkgs=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/pkgs
libraries=
modules=
for stem in @STEMS@; do
    libraries="$libraries${libraries:+:}$pkgs/$stem/lib"
    modules="$modules${modules:+:}$pkgs/$stem/@SITE@:$pkgs/$stem/site-packages"
done
LD_LIBRARY_PATH=$libraries PYTHONPATH=$modules exec "$pkgs/@PYTHON@/bin/python3" -B -s "$@"
EOF
chmod +x "$PREFIX/_conda"

printf 'Unpacking payload...\n'
mkdir -p "$PREFIX/install_tmp"
TMP="$PREFIX/install_tmp"
TMPDIR="$TMP"
export TMP TMPDIR
if ! payload | tar -xzf - -C "$PREFIX" --no-same-owner --no-same-permissions; then
    printf 'ERROR: could not unpack the payload.\n' >&2
    exit 1
fi
rm -f "$PREFIX/preconda.tar.bz2"

printf '\nInstalling base environment...\n'
"$PREFIX/_conda" -m conda.bootstrap "$PREFIX" "$PREFIX/conda-meta/initial-state.explicit.txt" || exit $?

tar -xf "$PREFIX/postconda.tar.bz2" -C "$PREFIX" --no-same-owner --no-same-permissions
rm -f "$PREFIX/postconda.tar.bz2" "$PREFIX/.messages.txt"
rm -rf "$PREFIX/install_tmp"
printf 'installation finished.\n'

if [ "${PYTHONPATH:-}" != "" ]; then
    cat <<EOF
WARNING:
    You currently have a PYTHONPATH environment variable set. This may cause
    unexpected behavior when running the Python interpreter in @NAME@.
    For best results, please verify that your PYTHONPATH only points to
    directories of packages that are compatible with the Python interpreter
    in @NAME@: $PREFIX
EOF
fi
if [ "$INIT" -eq 1 ]; then
    printf "'conda init' is not part of the stand-in; source %s/etc/profile.d/conda.sh instead.\n" "$PREFIX"
fi
exit 0
