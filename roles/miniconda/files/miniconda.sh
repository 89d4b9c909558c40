# shellcheck shell=sh
# refuse() ends the script, so "a && b || refuse" is if-then-else; the pattern of grep comes by -f; -ef is in dash, bash
# and busybox.
# shellcheck disable=SC2015,SC2062,SC3013
# One conda prefix: looked at, installed, repaired or removed.
#
# Sent whole over the connection; needs a POSIX sh and the machine's own small tools, no Python. The lines
# put before it set: MODE (install, check, remove, remove-check, fetch) PREFIX LABEL VERSION ARCHITECTURE FILE URL
# SHA256 GLIBC FREE_MB FREE_INODES PROXY (-: a line of standard input) DIRECT CA_BUNDLE LOCK_WAIT KEEP REMOVABLE, and
# SHARER, the account that this is done for when the prefix is that of the whole machine. With URL -, the installer is
# not downloaded: the script asks for it by STATUS wanting and finds it at its next run in PUSHED. With MODE fetch it is
# run on the controller, to have the installer in the folder PREFIX.
# It ends with one line: "@nbfleet STATUS SENTENCE", STATUS being unchanged, changed, wanting or refused.
# Everything is a function, so a script that arrives cut short does nothing.
set -u

finish() {
    printf '\n@nbfleet %s %s\n' "$1" "$(printf '%s' "$2" | tr '\n\t' '  ' | tr -cd '[:print:]')"
    exit 0
}

refuse() { finish refused "$who: $1."; }

too_old() {
    refuse "the system has glibc $libc, $LABEL $VERSION needs $1 or newer; set miniconda_version (with miniconda_sha256 and miniconda_minimum_glibc) to a release for older systems, or upgrade the machine"
}

# What stands at PREFIX? Sets state:
#   none | empty      nothing, or a folder with nothing in it
#   ours              complete, with our mark
#   half              begun by us and not finished, or ours and damaged since
#   removing          a removal by us that did not come to its end
#   foreign           complete, somebody else's
#   half-foreign      somebody else's installation, not finished or broken
#   alien | dangling  not a conda at all; a link to nowhere
# bin/conda alone proves nothing: it answers before the base environment is there.
probe() {
    if [ ! -e "$PREFIX" ]; then
        state=none
        if [ -h "$PREFIX" ]; then state=dangling; fi
        return
    fi
    state=alien
    [ -d "$PREFIX" ] || return 0

    complete=yes
    for entry in bin/conda bin/python; do
        [ -x "$PREFIX/$entry" ] || complete=no
    done
    for package in conda python; do
        set -- "$PREFIX/conda-meta/$package"-[0-9]*.json
        [ -s "$1" ] || complete=no
    done
    # A .condatmp is left by an interrupted installer together with these, alone by any interrupted conda.
    for entry in install_tmp .messages.txt preconda.tar.bz2 postconda.tar.bz2; do
        if [ -e "$PREFIX/$entry" ]; then complete=no; fi
    done

    if [ -e "$PREFIX/.nbfleet-removing" ]; then
        state=removing
    elif [ -e "$PREFIX/.nbfleet-installed" ] && [ $complete = yes ]; then
        state=ours
    elif [ -e "$PREFIX/.nbfleet-installed" ] || [ -e "$PREFIX/.nbfleet-started" ]; then
        state=half
    elif [ $complete = yes ]; then
        state=half-foreign
        if conda_works; then state=foreign; fi
    elif [ -e "$PREFIX/_conda" ] || [ -d "$PREFIX/conda-meta" ] || [ -e "$PREFIX/install_tmp" ]; then
        state=half-foreign
    elif [ -r "$PREFIX" ] && [ -z "$(ls -A "$PREFIX" 2>/dev/null)" ]; then
        state=empty
    fi
    return 0
}

# The same, and whether an installation of ours still works: files may be gone although the records are there.
look() {
    probe
    if [ "$state" = ours ] && ! lists_its_python; then state=half; fi
}

quiet_conda() {
    PYTHONDONTWRITEBYTECODE=1 env -u PYTHONPATH -u PYTHONHOME timeout 120 "$PREFIX/bin/conda" "$@" </dev/null 2>/dev/null
}

conda_works() {
    case "$(quiet_conda --version)" in
        conda\ [0-9]*) return 0 ;;
    esac
    return 1
}

# The process of an installer at work in PREFIX, if there is one. The pattern comes by stdin, so that grep
# does not find itself.
installer_at_work() {
    printf '%s\n' "$PREFIX/_conda" "$WORK/$FILE" | grep -azlF -f - -- /proc/[0-9]*/cmdline 2>/dev/null |
        sed -n 's|^/proc/\([0-9]*\)/cmdline$|\1|p' | head -n 1
}

# $1: kilobytes (-k) or inodes (-i); $2: column of df -P
disk() { LC_ALL=C df -P "$1" "$ground" 2>/dev/null | awk -v column="$2" 'NR == 2 { print $column }'; }

mount_options() {
    point=$(LC_ALL=C df -P "$ground" 2>/dev/null | awk 'NR == 2 { print $6 }')
    awk -v point="$point" '$2 == point { options = $4 } END { print options }' /proc/self/mounts 2>/dev/null
}

older() { # is version $1 older than $2?
    awk -v a="$1" -v b="$2" 'BEGIN { split(a, x, "."); split(b, y, ".");
        exit !(x[1] + 0 < y[1] + 0 || (x[1] + 0 == y[1] + 0 && x[2] + 0 < y[2] + 0)) }'
}

known_hash() {
    [ -n "$SHA256" ] || refuse "no SHA-256 is known for $FILE; look it up at the vendor's and set miniconda_sha256"
    [ ${#SHA256} -eq 64 ] && [ -z "$(printf %s "$SHA256" | tr -d 0-9a-f)" ] || refuse "miniconda_sha256 is '$SHA256', which is no SHA-256 (64 hexadecimal digits); copy it again from the vendor's page"
}

# Everything that would stop the installer, asked before a byte is downloaded.
preflight() {
    [ "$(uname -s)" = Linux ] || refuse "$LABEL is installed on Linux only, this is $(uname -s); take this host out of the play"
    machine=$(uname -m)
    case "$machine" in
        x86_64 | aarch64) ;;
        *) refuse "there is no $LABEL for the processor type $machine (only x86_64 and aarch64); take this host out of the play" ;;
    esac
    if [ "$(getconf LONG_BIT 2>/dev/null)" = 32 ]; then
        refuse "the system is a 32-bit one on a 64-bit processor, for which there is no $LABEL; take this host out of the play"
    fi
    [ "$machine" = "$ARCHITECTURE" ] ||
        refuse "the machine is $machine but miniconda_architecture says '$ARCHITECTURE'; correct or drop that variable"

    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc=
    case "$libc" in
        glibc\ *) libc=${libc#glibc } ;;
        *)
            libc=
            for loader in /lib/ld-musl-*; do
                if [ -e "$loader" ]; then
                    refuse "the system's C library is musl, $LABEL needs glibc $GLIBC or newer; use a machine with a glibc distribution"
                fi
            done
            ;;
    esac
    if [ -n "$libc" ] && older "$libc" "$GLIBC"; then
        too_old "$GLIBC"
    fi

    case "$PREFIX" in
        /*) ;;
        *) refuse "miniconda_prefix '$PREFIX' is not an absolute path; write it from / on" ;;
    esac
    case "$PREFIX" in
        *[!A-Za-z0-9_./+@,=-]*) refuse "miniconda_prefix '$PREFIX' has characters that conda cannot live with (spaces, colons, quotes and the like); choose a plain path" ;;
    esac
    [ ${#PREFIX} -le 110 ] || refuse "miniconda_prefix is ${#PREFIX} characters long, conda's own programs stop working beyond 110; choose a shorter path"

    for tool in awk base64 dd df flock grep head md5sum sed sha256sum tail timeout wc; do
        command -v "$tool" >/dev/null 2>&1 || refuse "the program $tool is missing, which the installation needs; install it (coreutils, util-linux, grep, sed, gawk) and run again"
    done

    ground=$PREFIX
    while [ ! -d "$ground" ]; do ground=$(dirname "$ground"); done
    case ",$(mount_options)," in
        *,noexec,*) refuse "the file system of $ground is mounted noexec, programs in $PREFIX would not start; set miniconda_prefix to a place where programs may run" ;;
        *,ro,*) refuse "the file system of $ground is mounted read-only; set miniconda_prefix elsewhere or remount it" ;;
    esac
    [ -w "$ground" ] && [ -x "$ground" ] || refuse "$ground cannot be written by this user, so $PREFIX cannot be made; set miniconda_prefix to a folder of the user"
    [ -d /dev/shm ] && [ -w /dev/shm ] || refuse "/dev/shm is not writable for this user, the installer needs it; ask for a mode of 1777 on /dev/shm"

    needed=$FREE_MB
    if [ "$state" = half ]; then
        needed=$((needed - $(du -sm "$PREFIX" 2>/dev/null | awk '{ print $1 + 0 }')))
        [ "$needed" -ge 200 ] || needed=200
    fi
    free=$(disk -k 4)
    case "$free" in
        '' | *[!0-9]*) ;;
        *) [ $((free / 1024)) -ge "$needed" ] || refuse "$((free / 1024)) MB are free at $ground, the installation needs $needed MB; free some space or set miniconda_prefix to a larger disk" ;;
    esac
    inodes=$(disk -i 4)
    case "$(disk -i 2)$inodes" in
        '' | *[!0-9]* | 0*) ;; # file systems without a fixed number
        *) [ "$state" = half ] || [ "$inodes" -ge "$FREE_INODES" ] || refuse "$inodes files (inodes) are free at $ground, the installation makes about $FREE_INODES; remove some files or set miniconda_prefix to another disk" ;;
    esac

    known_hash
    case "$URL" in
        -) ;;
        file:///*) [ -r "${URL#file://}" ] || refuse "the installer ${URL#file://} is not there or not readable; correct miniconda_installer_url or miniconda_base_url" ;;
        *) command -v curl >/dev/null 2>&1 || command -v wget >/dev/null 2>&1 ||
            refuse "neither curl nor wget is there to download $FILE; install one of them, or put the file on the machine and set miniconda_installer_url to its file:// address" ;;
    esac
    if [ -n "$CA_BUNDLE" ] && [ ! -r "$CA_BUNDLE" ]; then
        refuse "the certificates in miniconda_ca_bundle ($CA_BUNDLE) are not there or not readable on this machine; correct the path"
    fi
}

# One at a time. Every child inherits the lock, so it is held as long as anything that we started is alive,
# also after this script was killed; and no dead owner can leave it behind.
lock() {
    [ -z "${locked:-}" ] || return 0
    turns=0
    while :; do
        (umask 077 && mkdir -p "$WORK") || refuse "the folder $WORK cannot be made; look whether the disk is full or over quota"
        # By `command`, so that a file that cannot be opened is an answer and not this script's end.
        if { [ ! -h "$WORK" ] && [ -O "$WORK" ] && chmod 700 "$WORK" && command exec 9>>"$WORK/lock"; } 2>/dev/null; then
            flock -w "$LOCK_WAIT" 9
            case $? in
                0) ;;
                1) refuse "another run has been at work on $PREFIX for more than $LOCK_WAIT s; wait for it, or end it, and run again" ;;
                *) break ;; # a network file system without locks
            esac
            # Whoever was before us has taken the folder away? Then that lock is worth nothing.
            if [ "$WORK/lock" -ef /proc/self/fd/9 ]; then break; fi
        elif [ -e "$WORK" ] || [ -h "$WORK" ]; then
            refuse "the folder $WORK is not a private folder of this user; remove it and run again"
        fi # or has done so between two of our steps
        turns=$((turns + 1))
        [ "$turns" -lt 1000 ] || refuse "the folder $WORK is taken away again and again; look what does it and run again"
    done
    locked=yes
    trap 'rm -f "$WORK/$FILE" "$WORK/part"; exit 129' HUP INT TERM
    deadline=$(($(date +%s) + LOCK_WAIT))
    while worker=$(installer_at_work) && [ -n "$worker" ]; do
        [ "$(date +%s)" -lt "$deadline" ] || refuse "an installer (process $worker) has been at work in $PREFIX for more than $LOCK_WAIT s; wait for it, or end it, and run again"
        sleep 1
    done
}

# Get URL into $1. On failure: fetch_error is what the tool said, fetch_again is no where that would not help.
fetch() {
    fetch_again=yes
    if [ -n "$PROXY" ]; then
        export http_proxy="$PROXY" https_proxy="$PROXY" HTTPS_PROXY="$PROXY" all_proxy="$PROXY"
        export no_proxy="$DIRECT" NO_PROXY="$DIRECT"
    fi
    case "$URL" in
        file://*)
            fetch_again=no
            cp "${URL#file://}" "$1" 2>"$WORK/said"
            ;;
        *)
            if command -v curl >/dev/null 2>&1; then
                set -- "$1" --fail --location --silent --show-error --netrc-optional --connect-timeout 20 --speed-limit 1024 --speed-time 60
                if [ -n "$CA_BUNDLE" ]; then set -- "$@" --cacert "$CA_BUNDLE"; fi
                target=$1 && shift
                code=$(LC_ALL=C curl "$@" --output "$target" --write-out '%{http_code}' "$URL" 2>"$WORK/said" </dev/null)
            else
                code=
                set -- "$1" --no-verbose --tries=1 --timeout=60 --connect-timeout=20
                if [ -n "$CA_BUNDLE" ]; then set -- "$@" --ca-certificate="$CA_BUNDLE"; fi
                target=$1 && shift
                LC_ALL=C wget "$@" --output-document="$target" "$URL" 2>"$WORK/said" </dev/null
            fi
            ;;
    esac
    fetch_status=$?
    [ $fetch_status -ne 0 ] || return 0
    # What is wrong with certificates curl explains at length; in its first line it says what it is.
    fetch_error=$(grep '^curl: ([0-9]*) ' "$WORK/said" || grep -v '^ *$' "$WORK/said")
    fetch_error=$(echo "$fetch_error" | tail -n 1 | sed 's|://[^/@ ]*@|://***@|g')
    # On a full disk nothing is said, either: curl ends with 23 then, wget with 3.
    case "$fetch_status$fetch_error" in 23 | 3) fetch_error="it could not be written" ;; esac
    case "$code $fetch_error" in
        408* | 429*) ;;
        4[0-9][0-9]\ * | *ERROR\ 4[0-9][0-9]* | *response\ 407*) fetch_again=no ;;
        *certificate* | *[Nn]o\ space\ left* | *quota\ exceeded* | *[Ww]rit*) fetch_again=no ;;
    esac
    return 1
}

intact() { [ -f "$1" ] && [ "$(sha256sum <"$1")" = "$SHA256  -" ]; }

download() {
    if intact "$WORK/$FILE"; then return 0; fi # left by a run that was killed after this step
    if [ "$URL" = - ]; then
        intact "$PUSHED" || finish wanting "$WORK/pushed-$$"
        mv -f "$PUSHED" "$WORK/$FILE"
        return 0
    fi
    for pause in 2 5 0; do
        code=
        if fetch "$WORK/part"; then
            fetch_error=
            break
        fi
        rm -f "$WORK/part"
        if [ $fetch_again = no ]; then break; fi
        [ $pause -eq 0 ] || sleep $pause
    done
    if [ -n "${fetch_error:-}" ] || [ ! -f "$WORK/part" ]; then
        rm -rf "$WORK"
        case "$fetch_error" in
            *40[17]*)
                hint="it wants a user and a password; give them in miniconda_proxy if it is the proxy that asks, in ~/.netrc of the account otherwise"
                ;;
            *certificate*) hint="set miniconda_ca_bundle to the certificates of your network" ;;
            *space\ left* | *quota\ exceeded* | *[Ww]rit*) hint="look whether the disk is full or over quota, free some space and run again" ;;
            *) hint="check miniconda_version, miniconda_base_url (a mirror) and miniconda_proxy" ;;
        esac
        refuse "$URL could not be downloaded (${fetch_error:-no reason given}); $hint"
    fi
    got=$(sha256sum <"$WORK/part")
    got=${got%% *}
    if [ "$got" != "$SHA256" ]; then
        page=
        if head -c 512 "$WORK/part" | LC_ALL=C grep -aqi '<html\|<!doctype'; then page=" and is a web page"; fi
        rm -rf "$WORK"
        refuse "what came from $URL has the SHA-256 $got instead of $SHA256$page, so it was not run; check miniconda_sha256, the mirror and the proxy"
    fi
    mv -f "$WORK/part" "$WORK/$FILE"
}

existed() { if [ -e "$1" ]; then echo yes; else echo no; fi; }

# Say in PREFIX that what is there was begun by us, and how the home was before.
begin() {
    mkdir -p "$PREFIX" 2>/dev/null || refuse "$PREFIX cannot be made; look at the rights of its parent folder and run again"
    if [ -s "$PREFIX/.nbfleet-started" ]; then return 0; fi
    if [ -s "$PREFIX/.nbfleet-installed" ]; then
        sed -n '/^existed/p' "$PREFIX/.nbfleet-installed"
    else
        printf 'existed_conda: %s\nexisted_cache: %s\n' "$(existed "$HOME/.conda")" "$(existed "$HOME/.cache/conda")"
    fi >"$WORK/started" && mv -f "$WORK/started" "$PREFIX/.nbfleet-started" ||
        refuse "$PREFIX cannot be written; look whether the disk is full or over quota"
    rm -f "$PREFIX/.nbfleet-installed"
}

run_installer() {
    shell=$(command -v bash) || shell="sh"
    # The bootstrapper prefers TMPDIR to the folder that the installer prepares, and dies where that is noexec.
    env -u TMPDIR -u PYTHONPATH -u PYTHONHOME "$shell" "$WORK/$FILE" -b -u -p "$PREFIX" </dev/null >"$WORK/log" 2>&1
    status=$?
    if [ $status -eq 0 ]; then return 0; fi
    rm -f "$WORK/$FILE"
    if grep -aq 'No space left on device\|Disk quota exceeded\|Not enough free disk space' "$WORK/log"; then
        refuse "the disk of $PREFIX became full or went over quota during the installation; free some space and run again, it continues (output: $WORK/log)"
    fi
    reason=$(grep -a 'ERROR\|Error' "$WORK/log" | grep -av 'ERROR REPORT' | tail -n 1)
    [ -n "$reason" ] || reason=$(grep -av '^ *$' "$WORK/log" | tail -n 1)
    if [ "$(ls -A "$PREFIX")" = .nbfleet-started ]; then
        rm -f "$PREFIX/.nbfleet-started"
        rmdir "$PREFIX" 2>/dev/null
    fi
    # Its own word for what it needs, where that is more than was known of it.
    needs=$(printf '%s' "$reason" | sed -n 's/^Installer requires GLIBC >=\([0-9.]*\), .*/\1/p')
    if [ -n "$needs" ]; then
        rm -rf "$WORK"
        too_old "$needs"
    fi
    refuse "the installer ended with status $status (${reason:-it said nothing}); see $WORK/log there and run again, it continues"
}

lists_its_python() { [ "$complete" = yes ] && quiet_conda list -p "$PREFIX" | grep -q '^python '; }

confirm() {
    {
        printf 'flavour: %s\nversion: %s\nfile: %s\nsha256: %s\n' "$LABEL" "$VERSION" "$FILE" "$SHA256"
        cat "$PREFIX/.nbfleet-started"
    } >"$PREFIX/.nbfleet-new" && mv -f "$PREFIX/.nbfleet-new" "$PREFIX/.nbfleet-installed" ||
        refuse "the mark in $PREFIX could not be written; look whether the disk is full or over quota, and run again"
    rm -f "$PREFIX/.nbfleet-started"
}

install() {
    # Killed after the installer's end and before our mark? Then there is nothing left to install.
    if [ "$state" != half ] || [ ! -s "$PREFIX/.nbfleet-started" ] || ! lists_its_python; then
        download
        begin
        run_installer
        probe
        lists_its_python ||
            refuse "the installer reported success, but the conda in $PREFIX does not list its own Python; see $WORK/log there and run again, it repairs"
    fi
    # An installer may leave commands that a group can write.
    if [ -n "$SHARER" ]; then find "$PREFIX" ! -type l -perm /022 -exec chmod go-w {} +; fi
    confirm
}

# Environments in PREFIX that are not in REMOVABLE (one path a line).
others_environments() {
    for environment in "$PREFIX"/envs/*; do
        if [ -d "$environment/conda-meta" ] && ! printf '%s\n' "$REMOVABLE" | grep -qxF "$environment"; then
            printf '%s ' "${environment##*/}"
        fi
    done
}

remove() {
    conda_existed=yes cache_existed=yes
    for mark in .nbfleet-removing .nbfleet-installed .nbfleet-started; do
        [ -e "$PREFIX/$mark" ] || continue
        if grep -q '^existed_conda: no' "$PREFIX/$mark"; then conda_existed=no; fi
        if grep -q '^existed_cache: no' "$PREFIX/$mark"; then cache_existed=no; fi
        [ $mark = .nbfleet-removing ] || mv -f "$PREFIX/$mark" "$PREFIX/.nbfleet-removing"
    done
    # The mark goes last: a removal that is broken off is known as ours.
    for entry in "$PREFIX"/* "$PREFIX"/.[!.]* "$PREFIX"/..?*; do
        [ "$entry" = "$PREFIX/.nbfleet-removing" ] || rm -rf "$entry" 2>>"$WORK/said" ||
            refuse "$entry could not be removed ($(tail -n 1 "$WORK/said")); look at its rights and run again, it continues"
    done
    list=$HOME/.conda/environments.txt
    if [ -f "$list" ]; then
        awk -v prefix="$PREFIX" '$0 != prefix && index($0, prefix "/envs/") != 1' "$list" >"$WORK/list" &&
            { cmp -s "$list" "$WORK/list" || cat "$WORK/list" >"$list"; }
        if [ $conda_existed = no ] && [ ! -s "$list" ]; then rm -f "$list"; fi
    fi
    if [ $conda_existed = no ]; then rmdir "$HOME/.conda" 2>/dev/null; fi
    if [ $cache_existed = no ]; then rm -rf "$HOME/.cache/conda"; fi
    rm -f "$PREFIX/.nbfleet-removing"
    # A link or a mount point was there before us and stays, empty.
    if [ ! -h "$PREFIX" ]; then rmdir "$PREFIX" 2>/dev/null; fi
}

# A prefix of the whole machine is root's, and so is every folder on the way: what root runs must be nobody else's.
require_root() {
    umask 022
    [ "$(id -u)" = 0 ] || refuse "miniconda_scope: machine needs root; let an admin log in who may become it (ansible_become, ansible_become_user), or leave the scope at user"
    place=$PREFIX
    while :; do
        if [ -e "$place" ]; then
            case "$(stat -Lc '%u %A' "$place")" in
                "0 "?????-??-*) ;;
                *) refuse "$place can be written by others than root, so root installs nothing there; correct its rights, or set miniconda_shared_prefix to another path" ;;
            esac
        fi
        [ "$place" != / ] || return 0
        place=$(dirname "$place")
    done
}

noted() { [ -z "$SHARER" ] || [ -e "$PREFIX.users/$SHARER" ]; }

# Note that the account uses the prefix of its machine, under the lock.
note() {
    if noted; then return 0; fi
    mkdir -p "$PREFIX.users" && : >"$PREFIX.users/$SHARER" ||
        refuse "$PREFIX.users cannot be written; look whether the disk is full"
}

# Take the account's note away; end here as long as others use the prefix. Nobody left: all that we made in it may go.
leave() {
    status=unchanged
    if [ -e "$PREFIX.users/$SHARER" ]; then status=changed; fi
    if [ "$MODE" = remove ] && [ -d "$PREFIX" ]; then
        lock
        rm -f "$PREFIX.users/$SHARER"
    fi
    others=
    for mark in "$PREFIX.users"/*; do
        user=${mark##*/}
        if [ -e "$mark" ] && [ "$user" != "$SHARER" ] && id -u "$user" >/dev/null 2>&1; then others="$others $user"; fi
    done
    if [ -n "$others" ]; then
        [ "$MODE" = remove-check ] || rm -rf "$WORK"
        finish $status "$who: $PREFIX stays, because other accounts use it ($others )."
    fi
    for environment in "$PREFIX"/envs/*; do
        if grep -qs '"made": true' "$environment/conda-meta/nbfleet"; then
            REMOVABLE=$(printf '%s\n%s' "$REMOVABLE" "$environment")
        fi
    done
}

main_install() {
    if [ "$MODE" = install ] && ! noted; then
        case "$state" in
            ours | foreign)
                lock
                look
                case "$state" in
                    ours | foreign)
                        note
                        rm -rf "$WORK"
                        finish changed "$who: conda is there in $PREFIX, and $SHARER uses it, too."
                        ;;
                esac
                ;;
        esac
    fi
    case "$state" in
        ours | foreign)
            if ! noted; then finish changed "$who: $SHARER would use the conda in $PREFIX, too."; fi
            # A run killed between the mark and the end leaves its folder; without a lock nobody needs it.
            if [ "$MODE" = install ] && [ "$state" = ours ] && [ -d "$WORK" ]; then
                if [ ! -e "$WORK/lock" ] || flock -n "$WORK/lock" true; then rm -rf "$WORK"; fi
            fi
            if [ "$state" = foreign ]; then
                finish unchanged "$who: the conda in $PREFIX was put there by somebody else and works, it is used as it is."
            fi
            finish unchanged "$who: conda is installed in $PREFIX."
            ;;
        dangling) refuse "$PREFIX is a link to a place that does not exist; make that place or remove the link" ;;
        alien) refuse "$PREFIX is there and is not a conda installation; move it away or set miniconda_prefix to another path" ;;
        half-foreign)
            worker=$(installer_at_work)
            [ -z "$worker" ] || refuse "an installer that was not started by nbfleet (process $worker) is at work in $PREFIX; wait until it has finished and run again"
            refuse "$PREFIX holds a broken or half conda that nbfleet did not install; repair it, or remove it (rm -rf $PREFIX), or set miniconda_prefix to another path"
            ;;
    esac
    preflight
    what="$LABEL $VERSION into $PREFIX"
    case "$state" in
        half) again="finished the half installation of $what" ;;
        *) again="installed $what" ;;
    esac
    if [ "$MODE" = check ]; then finish changed "$who: would have $again."; fi
    mkdir -p "$(dirname "$PREFIX")" 2>/dev/null || refuse "the folder $(dirname "$PREFIX") cannot be made; look at the rights of its parent"
    lock
    look
    case "$state" in
        ours)
            note
            rm -rf "$WORK"
            finish unchanged "$who: another run has installed conda in $PREFIX meanwhile."
            ;;
        removing)
            remove
            (umask 077 && mkdir -p "$WORK")
            ;;
        none | empty | half) ;;
        *) refuse "$PREFIX was changed by somebody else meanwhile; run again" ;;
    esac
    install
    note
    rm -rf "$WORK"
    finish changed "$who: $again."
}

main_remove() {
    if [ -n "$SHARER" ]; then leave; fi
    case "$state" in
        none | dangling)
            if [ "$MODE" = remove ] && [ -d "$WORK" ]; then lock && rm -rf "$WORK"; fi
            finish unchanged "$who: there is no conda in $PREFIX."
            ;;
        empty | alien | foreign | half-foreign) finish unchanged "$who: $PREFIX was not put there by nbfleet, it stays." ;;
    esac
    if [ "$KEEP" = yes ]; then finish unchanged "$who: $PREFIX stays, as miniconda_keep says."; fi
    others=$(others_environments)
    if [ -n "$others" ]; then
        finish unchanged "$who: $PREFIX stays, because it holds environments that nbfleet did not make ( $others); remove them first if it shall go."
    fi
    if [ "$MODE" = remove-check ]; then finish changed "$who: would have removed $PREFIX."; fi
    lock
    remove
    rm -rf "$WORK"
    if [ -n "$SHARER" ]; then
        rm -rf "$PREFIX.users"
        case "${PREFIX%/*}" in */nbfleet) rmdir "${PREFIX%/*}" 2>/dev/null ;; esac
    fi
    finish changed "$who: removed $PREFIX."
}

main_fetch() {
    known_hash
    if intact "$PREFIX/$FILE"; then finish unchanged "$who: $FILE is here."; fi
    mkdir -p "$PREFIX" || refuse "the folder $PREFIX cannot be made; look at the rights of its parent"
    WORK=$PREFIX/.$FILE.nbfleet
    lock
    download
    mv -f "$WORK/$FILE" "$PREFIX/$FILE" || refuse "$PREFIX/$FILE cannot be written; look at its rights and the disk's space"
    rm -rf "$WORK"
    finish changed "$who: fetched $FILE."
}

main() {
    cd "$HOME" 2>/dev/null || cd /
    if [ "$MODE$PROXY" = install- ]; then IFS= read -r PROXY || PROXY=; fi
    who="$(id -un 2>/dev/null || id -u)@$(uname -n)"
    PREFIX=${PREFIX%/}
    SHARER=${SHARER:-}
    WORK=${PREFIX%/*}/.${PREFIX##*/}.nbfleet
    if [ -n "$SHARER" ]; then require_root; fi
    case "$MODE" in
        fetch) main_fetch ;;
        remove*) probe && main_remove ;;
        *) look && main_install ;;
    esac
}

main
