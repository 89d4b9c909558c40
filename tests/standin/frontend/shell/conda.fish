# conda for fish, of the nbfleet stand-in distribution. To be sourced; activates nothing by itself.
set -gx CONDA_EXE '@PREFIX@/bin/conda'
set -gx _CONDA_EXE '@PREFIX@/bin/conda'
set -gx _CONDA_ROOT '@PREFIX@'
set -gx CONDA_PYTHON_EXE '@PREFIX@/bin/python'

if not set -q CONDA_SHLVL
    set -gx CONDA_SHLVL 0
    set -gx PATH $_CONDA_ROOT/condabin $PATH
end

function conda --inherit-variable CONDA_EXE
    if test (count $argv) -lt 1
        $CONDA_EXE
        return
    end
    switch $argv[1]
        case activate deactivate
            set -l lines ($CONDA_EXE shell.fish $argv)
            or return
            for line in $lines
                eval $line
            end
        case '*'
            $CONDA_EXE $argv
    end
end
