# Prints the targets of the Makefile with their groups and help.
/^##@ / { printf "\n%s\n", substr($0, 5); next }
/^[a-z][a-z0-9-]*:.* ## / {
    target = $0
    sub(/:.*/, "", target)
    text = $0
    sub(/.* ## /, "", text)
    printf "  %-13s %s\n", target, text
}
