# One conda command in csh: what the alias of conda.csh sources.
switch ("${1}")
    case activate:
    case deactivate:
        set _conda_lines = "`${_CONDA_EXE} shell.csh ${argv:q}`"
        set _conda_status = $status
        if ($_conda_status == 0) then
            foreach _conda_line ($_conda_lines:q)
                eval "$_conda_line"
            end
            rehash
        endif
        unset _conda_lines
        breaksw
    default:
        ${_CONDA_EXE} ${argv:q}
        set _conda_status = $status
        breaksw
endsw
# Last, because the end of a switch resets the status.
(exit $_conda_status)
