"""virtctl completion SHELL: what makes a shell complete virtctl's words.

The scripts ask virtctl itself at each press of Tab, in the way that kubectl's plugins are asked
(https://kubernetes.io/blog/2022/12/kubectl-plugin-completion): `virtctl __complete WORD...` prints
a candidate a line, a tab before what it means, and last `:0` (files fit too) or `:4` (they do not).
"""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh", "fish", "powershell")

EXAMPLES = """examples:
  source <(virtctl completion bash)
  source <(virtctl completion zsh)
  virtctl completion fish | source
  virtctl completion powershell | Out-String | Invoke-Expression
Put that into the shell's start-up file. For `kubectl virt` kubectl itself completes, once
kubectl_complete-virt is on PATH."""

BASH = r"""# virtctl's completion for bash
_virtctl() {
    local word text directive=""
    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"
    COMPREPLY=()
    while IFS=$'\t' read -r word text; do
        case "$word" in
            :[0-9]*) directive="$word" ;;
            *) COMPREPLY+=("$word") ;;
        esac
    done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    # bash takes a flag, its = and its value for three words, and wants the last one only.
    if [[ "$COMP_WORDBREAKS" == *=* && ( "$current" == "=" || "$before" == "=" ) ]]; then
        COMPREPLY=("${COMPREPLY[@]#--*=}")
    fi
    if [[ "$directive" == ":0" ]]; then
        compopt -o default 2>/dev/null
    fi
    if [[ "${COMPREPLY[*]}" == *= || "${COMPREPLY[*]}" == */ ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _virtctl virtctl
"""
ZSH = r"""#compdef virtctl
# virtctl's completion for zsh
_virtctl() {
    local word text directive=""
    local -a found
    while IFS=$'\t' read -r word text; do
        if [[ "$word" == :[0-9]* ]]; then
            directive="$word"
        else
            found+=("${word//:/\\:}${text:+:$text}")
        fi
    done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#found} )); then
        _describe virtctl found
    fi
    if [[ "$directive" == ":0" ]]; then
        _files
    fi
}
if [[ "${funcstack[1]}" == "_virtctl" ]]; then
    _virtctl "$@"
else
    compdef _virtctl virtctl
fi
"""
FISH = r"""# virtctl's completion for fish
function __virtctl_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (command $words[1] __complete $words[2..-1] "$current" 2>/dev/null)
        switch $line
            case ':0'
                __fish_complete_path "$current"
            case ':*'
            case '*'
                printf '%s\n' $line
        end
    end
end
complete -c virtctl -f -a '(__virtctl_complete)'
"""
POWERSHELL = r"""# virtctl's completion for PowerShell
Register-ArgumentCompleter -Native -CommandName 'virtctl' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Where-Object {
        $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { $_.Extent.Text })
    $program = $words[0]
    if (-not $program) { return }
    $rest = @($words | Select-Object -Skip 1) + @([string]$wordToComplete)
    # An empty argument has to be quoted for programs that are not PowerShell's own.
    $rest = @($rest | ForEach-Object { if ($_ -eq '') { '""' } else { $_ } })
    & $program __complete @rest 2>$null | ForEach-Object {
        $word, $text = $_ -split "`t", 2
        if ($word -notmatch '^:\d') {
            if (-not $text) { $text = $word }
            [System.Management.Automation.CompletionResult]::new(
                $word, $word, 'ParameterValue', $text)
        }
    }
}
"""
SCRIPTS = dict(zip(SHELLS, (BASH, ZSH, FISH, POWERSHELL), strict=True))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def run(args: argparse.Namespace) -> int:
    print(SCRIPTS[args.shell], end="")
    return 0
