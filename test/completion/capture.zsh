# Prints what zsh would offer for a line: `zsh -f capture.zsh SCRIPT LINE`. The completion runs in a
# zsh with a terminal of its own, in which compadd prints its matches instead of offering them.
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PROMPT= PROMPT2= RPROMPT=; stty -echo; autoload -Uz compinit; compinit -u -D; source ${(q)1}"
zpty -w shell 'compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  local -a matches
  builtin compadd -O matches "$@"
  (( $#matches )) && print -rl -- "" "match "$^matches
}
finish() { print -r -- "end of matches"; exit }
complete-and-finish() { zle complete-word; finish }
zle -N complete-and-finish
bindkey "^I" complete-and-finish
print -r -- "ready for "completion'
zpty -r -m shell ready '*ready for completion*'
zpty -w -n shell "$2"$'\t'
local found
zpty -r -m shell found '*end of matches*'
print -r -- "$found"
