# conda for POSIX shells, of the nbfleet stand-in distribution. To be sourced; activates nothing by itself.
export CONDA_EXE='@PREFIX@/bin/conda'
export _CONDA_EXE="$CONDA_EXE"
export _CE_M=''
export _CE_CONDA=''
export CONDA_PYTHON_EXE='@PREFIX@/bin/python'
export _CONDA_ROOT='@PREFIX@'

__conda_change() {
    __conda_lines=$(PS1="${PS1-}" "$_CONDA_EXE" shell.posix "$@") || return
    eval "$__conda_lines"
    unset __conda_lines
    hash -r
}

conda() {
    case "${1-}" in
        activate | deactivate)
            __conda_change "$@"
            ;;
        install | update | upgrade | remove | uninstall)
            "$_CONDA_EXE" "$@" || return
            if [ "${CONDA_SHLVL:-0}" -gt 0 ]; then
                __conda_change reactivate
            fi
            ;;
        *)
            "$_CONDA_EXE" "$@"
            ;;
    esac
}

if [ -z "${CONDA_SHLVL+x}" ]; then
    export CONDA_SHLVL=0
    # shellcheck disable=SC2123 # it is meant to be the search path
    PATH="$_CONDA_ROOT/condabin${PATH:+:$PATH}"
    export PATH
    if [ -z "${PS1+x}" ]; then
        PS1=
    fi
fi
