# The subset of cloud-config that the demo guest knows: runcmd, ssh_authorized_keys, write_files.
# `run` is a shell script with one line for each item of runcmd.

function unquoted(text) {
    sub(/[ \t]+$/, "", text)
    if (text ~ /^".*"$/) {
        text = substr(text, 2, length(text) - 2)
        gsub(/\\"/, "\"", text)
        gsub(/\\\\/, "\\", text)
    } else if (text ~ /^'.*'$/) {
        text = substr(text, 2, length(text) - 2)
        gsub(/''/, "'", text)
    }
    return text
}

function quoted(text) {
    gsub(/'/, "'\"'\"'", text)
    return "'" text "'"
}

# [ sh, -c, "echo hello, world" ] as words of the shell.
function words(text,    i, c, quote, word, out, any) {
    sub(/^\[/, "", text)
    sub(/\][ \t]*$/, "", text)
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (quote) {
            if (c == "\\" && quote == "\"") word = word substr(text, ++i, 1)
            else if (c == quote) quote = ""
            else word = word c
        } else if (c == "\"" || c == "'") { quote = c; any = 1 }
        else if (c == ",") { out = out quoted(word) " "; word = ""; any = 0 }
        else if (c != " " || word != "" && !any) { word = word c }
    }
    return out quoted(word)
}

function indent(text) {
    match(text, /^ */)
    return RLENGTH
}

function file_done() {
    if (path == "") return
    system("mkdir -p \"$(dirname " quoted(path) ")\"")
    printf "%s", content >path
    close(path)
    if (mode != "") system("chmod " quoted(mode) " " quoted(path))
    path = content = mode = ""
}

# A block of text (`|`) goes on as long as its lines are indented deeper than its key.
block {
    if ($0 ~ /^[ \t]*$/) { text = "" }
    else if (indent($0) > block_above) {
        if (block_margin < 0) block_margin = indent($0)
        text = substr($0, block_margin + 1)
    } else { block = "" }
    if (block == "run") { print text >"run"; next }
    if (block == "file") { content = content text "\n"; next }
}

/^[ \t]*(#|$)/ { next }

/^[A-Za-z_]+:/ {
    file_done()
    section = $0
    sub(/:.*/, "", section)
    next
}

section == "ssh_authorized_keys" && /^ *- / {
    sub(/^ *- */, "")
    print unquoted($0) >"/root/.ssh/authorized_keys"
}

section == "runcmd" && /^ *- / {
    above = indent($0)
    sub(/^ *- */, "")
    if ($0 ~ /^[|>][-+]?[ \t]*$/) { block = "run"; block_above = above; block_margin = -1 }
    else if ($0 ~ /^\[/) print words($0) >"run"
    else print unquoted($0) >"run"
}

section == "write_files" {
    above = indent($0)
    if ($0 ~ /^ *- /) { file_done(); above += 2; sub(/^ *- */, "") }
    sub(/^ */, "")
    key = $0
    sub(/:.*/, "", key)
    sub(/^[^:]*: */, "")
    if (key == "path") path = unquoted($0)
    else if (key == "permissions") mode = unquoted($0)
    else if (key == "content") {
        if ($0 ~ /^[|>][-+]?[ \t]*$/) { block = "file"; block_above = above; block_margin = -1 }
        else content = unquoted($0)
    }
}

END { file_done() }
