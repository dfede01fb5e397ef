# The static addresses of a network configuration, version 1 or 2, as lines for `network`:
#   IFACE address ADDRESS/PREFIX | IFACE netmask MASK | IFACE gateway ADDRESS | IFACE dhcp
#   - nameserver ADDRESS | - search NAME

function say(what, text,    many, i) {
    gsub(/[][,"']/, " ", text)
    many = split(text, each, " ")
    for (i = 1; i <= many; i++) print (what ~ /^(nameserver|search)$/ ? "-" : nic), what, each[i]
}

/^[ \t]*(#|$)/ { next }

{
    match($0, /^[ -]*/)
    depth = RLENGTH
    text = substr($0, depth + 1)
    item = $0 ~ /^ *-/
    key = value = ""
    if (match(text, /^["']?[A-Za-z0-9_-]+["']?:/)) {
        key = substr(text, 1, RLENGTH - 1)
        gsub(/["']/, "", key)
        value = substr(text, RLENGTH + 1)
        sub(/^[ \t]+/, "", value)
        if (names_depth != "" && depth <= names_depth) { names_depth = ""; names = 0 }
    } else if (item) {
        if (list != "") say(list, text)
        next
    }
    list = ""
    plain = value
    gsub(/["' ]/, "", plain)
    if (key ~ /^(eth|en)[a-z0-9]+$/ && value == "") nic = key
    else if (key == "name") nic = plain
    else if (key == "type" && plain == "nameserver") { names = 1; names_depth = depth - 1 }
    else if (key == "type" && plain ~ /^dhcp4?$/) say("dhcp", "yes")
    else if (key == "dhcp4" && plain == "true") say("dhcp", "yes")
    else if (key == "nameservers") { names = 1; names_depth = depth }
    else if (key == "addresses" || key == "address") {
        list = names ? "nameserver" : "address"
        if (value != "") say(list, value)
    }
    else if (key == "dns_nameservers") { list = "nameserver"; if (value != "") say(list, value) }
    else if (key == "search" || key == "dns_search") { list = "search"; if (value != "") say(list, value) }
    else if (key == "netmask") say("netmask", value)
    else if (key == "gateway4" || key == "gateway") say("gateway", value)
    else if (key == "to") to = plain
    else if (key == "via" && to ~ /^(default|0\.0\.0\.0\/0)$/) { say("gateway", value); to = "" }
}
