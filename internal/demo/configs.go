package demo

// The reference case. The same two files serve both ways of calling: who calls is decided by `culvert up`.
const (
	// ConfigA is the configuration of the gateway with the public address.
	ConfigA = `# Gateway A has the public address 203.0.113.1.
connections {
    site-b {
        local_addrs  = 203.0.113.1
        remote_addrs = 192.0.2.10, %any   # whom to call; who calls may come from anywhere
        local {
            auth = psk
            id = 203.0.113.1
        }
        remote {
            auth = psk
            id = @foo                     # known by a name, not by an address
        }
        children {
            net {
                local_ts  = 10.103.0.0/24
                remote_ts = 10.104.0.0/24
            }
        }
    }
}
secrets {
    ike-foo {
        id-1 = @foo
        secret = "qwerty"                 # yours: openssl rand -base64 32
    }
}
`
	// ConfigB is the configuration of the gateway behind the NAT.
	ConfigB = `# Gateway B has the private address 172.16.0.1. No address of its own stands in this file.
connections {
    site-a {
        remote_addrs = 203.0.113.1
        local {
            auth = psk
            id = @foo                     # a name that need not exist in DNS
        }
        remote {
            auth = psk
            id = 203.0.113.1
        }
        children {
            net {
                local_ts  = 10.104.0.0/24
                remote_ts = 10.103.0.0/24
            }
        }
    }
}
secrets {
    ike-site-a {
        id-1 = 203.0.113.1
        secret = "qwerty"
    }
}
`
)
