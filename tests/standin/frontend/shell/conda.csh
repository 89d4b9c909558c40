# conda for csh and tcsh, of the nbfleet stand-in distribution. To be sourced; activates nothing by itself.
setenv CONDA_EXE '@PREFIX@/bin/conda'
setenv _CONDA_EXE '@PREFIX@/bin/conda'
setenv _CONDA_ROOT '@PREFIX@'
setenv CONDA_PYTHON_EXE '@PREFIX@/bin/python'
if (! $?CONDA_SHLVL) then
    setenv CONDA_SHLVL 0
    setenv PATH "${_CONDA_ROOT}/condabin:${PATH}"
endif
alias conda source '@PREFIX@/shell/conda-command.csh'
