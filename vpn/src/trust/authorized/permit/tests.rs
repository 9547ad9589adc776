//! Tables of rules and what they permit.

use std::net::IpAddr;
use std::path::Path;

use super::*;

fn permit(rules: &str) -> Permit {
    Permit::parse(rules, &ServiceNames::new("message", ["pipe", "forward", "channels"])).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether the rules permit a connection to an address on a port. `name` is what the client asked for.
fn connects(rules: &str, name: Option<&str>, address: &str, port: u16) -> bool {
    permit(rules).permits_address(name, ip(address), port, &[ip("10.9.0.1"), ip("fd09::1")])
}

#[test]
fn the_example_of_the_protocol_is_read() {
    let text = "message,forward:10.0.0.0/8:22,forward:db.internal:5432,forward:*:80,exec:backup,\
                remote-forward:127.0.0.1:8000-8100,tun";
    let permit = permit(text);
    assert_eq!(permit.to_string(), text);
    assert!(permit.permits("message") && !permit.permits("pipe") && !permit.permits("forward"));
    assert!(permit.permits_channels() && permit.permits_forwards() && permit.permits_tun());
    assert!(permit.permits_exec("backup") && !permit.permits_exec("back"));
    assert!(permit.permits_listen(ip("127.0.0.1"), 8050));
    assert_eq!(permit.with("pipe"), format!("{text},pipe"));
}

#[test]
fn what_is_not_written_is_not_permitted() {
    for (rules, channels, forwards, tun) in [
        ("message", false, false, false),
        ("message,pipe", false, false, false),
        ("tun", false, false, true),
        ("exec:a", true, false, false),
        ("remote-forward:*:*", true, false, false),
        ("remote-forward:/run/s", true, false, false),
        ("forward:*:*", true, true, false),
        ("forward:/run/s", true, true, false),
    ] {
        let permit = permit(rules);
        let found = (permit.permits_channels(), permit.permits_forwards(), permit.permits_tun());
        assert_eq!(found, (channels, forwards, tun), "{rules}");
        assert_eq!(permit.permits("message"), rules.starts_with("message"), "{rules}");
        assert!(!permit.permits("channels") && !permit.permits("exec:a"), "{rules}");
    }
}

#[test]
fn addresses_are_permitted_by_address_network_and_star() {
    for (rules, address, port, expected) in [
        ("forward:10.0.0.0/8:22", "10.1.2.3", 22, true),
        ("forward:10.0.0.0/8:22", "10.1.2.3", 23, false),
        ("forward:10.0.0.0/8:22", "11.1.2.3", 22, false),
        ("forward:192.0.2.1:22", "192.0.2.1", 22, true),
        ("forward:192.0.2.1:22", "192.0.2.2", 22, false),
        ("forward:192.0.2.1:8000-8100", "192.0.2.1", 7999, false),
        ("forward:192.0.2.1:8000-8100", "192.0.2.1", 8000, true),
        ("forward:192.0.2.1:8000-8100", "192.0.2.1", 8100, true),
        ("forward:192.0.2.1:8000-8100", "192.0.2.1", 8101, false),
        ("forward:192.0.2.1:*", "192.0.2.1", 65535, true),
        ("forward:192.0.2.1:*", "192.0.2.1", 0, false),
        ("forward:[2001:db8::/32]:22", "2001:db8::1", 22, true),
        ("forward:[2001:db8::]/32:22", "2001:db8:1::1", 22, true),
        ("forward:[2001:db8::1]:22", "2001:db8::1", 22, true),
        ("forward:[2001:db8::1]:22", "2001:db8::2", 22, false),
        ("forward:*:80", "192.0.2.1", 80, true),
        ("forward:*:80", "2001:db8::1", 80, true),
        ("forward:*:80", "192.0.2.1", 81, false),
        ("forward:0.0.0.0/0:80", "192.0.2.1", 80, true),
        ("forward:0.0.0.0/0:80", "2001:db8::1", 80, false),
        ("forward:[::]/0:80", "192.0.2.1", 80, false),
        // Two rules are not one.
        ("forward:192.0.2.1:22,forward:192.0.2.2:23", "192.0.2.1", 23, false),
        // Another kind of rule does not count.
        ("message,tun,exec:a,remote-forward:*:*", "192.0.2.1", 22, false),
        // A name does not count for an address.
        ("forward:db.internal:22", "192.0.2.1", 22, false),
    ] {
        assert_eq!(connects(rules, None, address, port), expected, "{rules}: {address}:{port}");
    }
}

#[test]
fn names_are_permitted_by_name_star_and_the_network_of_their_address() {
    for (rules, name, address, expected) in [
        ("forward:db.internal:22", "db.internal", "192.0.2.1", true),
        ("forward:DB.Internal.:22", "db.internal", "192.0.2.1", true),
        ("forward:db.internal:22", "x.db.internal", "192.0.2.1", false),
        ("forward:db.internal:22", "internal", "192.0.2.1", false),
        ("forward:db.internal:23", "db.internal", "192.0.2.1", false),
        ("forward:192.0.2.0/24:22", "db.internal", "192.0.2.1", true),
        ("forward:192.0.2.0/24:22", "db.internal", "192.0.3.1", false),
        ("forward:*:22", "db.internal", "192.0.2.1", true),
        ("forward:*:22", "db.internal", "2001:db8::1", true),
    ] {
        assert_eq!(connects(rules, Some(name), address, 22), expected, "{rules}: {name}");
    }
}

/// Addresses that `*` and names do not permit. Behind each is a network that does.
const SPECIAL: [(&str, &str); 24] = [
    ("127.0.0.1", "127.0.0.0/8"),
    ("127.255.255.254", "127.255.255.254"),
    ("0.0.0.0", "0.0.0.0"),
    ("0.1.2.3", "0.0.0.0/8"),
    ("169.254.169.254", "169.254.169.254"),
    ("169.254.0.1", "169.254.0.0/16"),
    ("224.0.0.1", "224.0.0.0/4"),
    ("239.255.255.255", "239.0.0.0/8"),
    ("255.255.255.255", "255.255.255.255"),
    ("10.9.0.1", "10.0.0.0/8"),
    ("::1", "[::1]"),
    ("::", "[::]"),
    ("fe80::1", "[fe80::]/10"),
    ("febf::1", "[fe80::]/10"),
    ("ff02::1", "[ff00::]/8"),
    ("fd09::1", "[fd09::]/16"),
    ("::7f00:1", "[::]/96"),
    ("64:ff9b:1::7f00:1", "[64:ff9b:1::]/48"),
    // An IPv4 address inside an IPv6 one.
    ("::ffff:127.0.0.1", "127.0.0.0/8"),
    ("::ffff:0:127.0.0.1", "127.0.0.0/8"),
    ("64:ff9b::169.254.169.254", "169.254.169.254"),
    ("2002:7f00:1::1", "127.0.0.1"),
    ("2002:a9fe:a9fe::", "169.254.0.0/16"),
    ("::ffff:10.9.0.1", "10.9.0.1"),
];

#[test]
fn addresses_of_this_machine_and_its_links_need_a_rule_that_names_them() {
    for (address, network) in SPECIAL {
        for rules in [
            "forward:*:*",
            "forward:*:22",
            "forward:host.example:22",
            "forward:localhost:22",
            "forward:0.0.0.0/0:*,forward:[::]/0:*",
        ] {
            let name = Some("host.example");
            assert!(!connects(rules, name, address, 22), "{rules}: {address}");
            assert!(!connects(rules, None, address, 22), "{rules}: {address}");
        }
        let rule = format!("forward:{network}:22");
        for name in [None, Some("host.example"), Some("localhost")] {
            assert!(connects(&rule, name, address, 22), "{rule}: {address}");
            // The rule has to have the port, too. That another rule has it is not enough.
            let other = format!("forward:{network}:23,forward:*:22,forward:host.example:22");
            assert!(!connects(&other, name, address, 22), "{other}: {address}");
        }
        assert!(Permit::is_special(ip(address), &[ip("10.9.0.1"), ip("fd09::1")]), "{address}");
    }
}

#[test]
fn ordinary_addresses_are_not_special() {
    for address in [
        "10.9.0.2",
        "192.168.1.1",
        "1.0.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.1.1",
        "169.255.1.1",
        "223.255.255.255",
        "100.64.0.1",
        "2001:db8::1",
        "fd09::2",
        "fec0::1",
        "64:ff9b::192.0.2.1",
        "::ffff:192.0.2.1",
        "2002:c000:201::1",
    ] {
        assert!(connects("forward:*:22", None, address, 22), "{address}");
        assert!(connects("forward:h:22", Some("h"), address, 22), "{address}");
    }
}

#[test]
fn an_address_in_an_ipv6_address_is_judged_as_ipv4() {
    for address in ["::ffff:10.1.2.3", "::ffff:0:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::5"]
    {
        assert!(connects("forward:10.1.2.3:22", None, address, 22), "{address}");
        assert!(!connects("forward:10.1.2.4:22", None, address, 22), "{address}");
        assert!(!connects("forward:[::]/0:22", None, address, 22), "{address}");
    }
    assert_eq!(Permit::rule_for(ip("64:ff9b::10.1.2.3"), 22), "forward:10.1.2.3:22");
    assert_eq!(Permit::rule_for(ip("fd00::1"), 22), "forward:[fd00::1]:22");
}

#[test]
fn localhost_is_the_only_name_for_loopback_addresses() {
    for (rules, name, address, expected) in [
        ("forward:localhost:22", Some("localhost"), "127.0.0.1", true),
        ("forward:LOCALHOST.:22", Some("localhost"), "::1", true),
        ("forward:localhost:22", None, "127.0.0.1", false),
        ("forward:localhost:22", Some("my.localhost"), "127.0.0.1", false),
        ("forward:my.localhost:22", Some("my.localhost"), "127.0.0.1", false),
        ("forward:localhost:23,forward:*:22", Some("localhost"), "127.0.0.1", false),
        ("forward:*:22", Some("localhost"), "127.0.0.1", false),
        ("forward:localhost:22", Some("localhost"), "169.254.169.254", false),
        ("forward:localhost:22", Some("localhost"), "0.0.0.0", false),
        ("forward:localhost:22", Some("localhost"), "10.9.0.1", false),
    ] {
        assert_eq!(connects(rules, name, address, 22), expected, "{rules}: {name:?} {address}");
    }
}

#[test]
fn only_names_that_may_be_permitted_are_looked_up() {
    for (rules, name, port, expected) in [
        ("forward:db.internal:22", Some("db.internal"), 22, true),
        ("forward:db.internal:22", Some("db.internal"), 23, false),
        ("forward:db.internal:22", Some("other"), 22, false),
        ("forward:10.0.0.0/8:22", Some("other"), 22, true),
        ("forward:10.0.0.0/8:22", Some("other"), 23, false),
        ("forward:*:1-99", Some("other"), 22, true),
        ("forward:db.internal:22", None, 22, false),
        ("forward:[fe80::]/10:22", None, 22, true),
        ("message,exec:a,forward:/run/s", Some("other"), 22, false),
    ] {
        assert_eq!(permit(rules).permits_lookup(name, port), expected, "{rules}: {name:?}");
    }
}

#[test]
fn listening_is_permitted_by_address_and_port() {
    for (rules, bind, port, expected) in [
        ("remote-forward:127.0.0.1:8000-8100", "127.0.0.1", 8000, true),
        ("remote-forward:127.0.0.1:8000-8100", "127.0.0.1", 8101, false),
        ("remote-forward:127.0.0.1:8000-8100", "127.0.0.2", 8000, false),
        ("remote-forward:127.0.0.1:8000-8100", "::1", 8000, false),
        ("remote-forward:127.0.0.1:8000-8100", "::ffff:127.0.0.1", 8000, true),
        ("remote-forward:localhost:8000", "127.0.0.1", 8000, true),
        ("remote-forward:localhost:8000", "127.0.0.2", 8000, true),
        ("remote-forward:localhost:8000", "::1", 8000, true),
        ("remote-forward:localhost:8000", "0.0.0.0", 8000, false),
        ("remote-forward:localhost:8000", "192.0.2.1", 8000, false),
        ("remote-forward:192.0.2.0/24:8000", "192.0.2.7", 8000, true),
        ("remote-forward:[2001:db8::]/32:8000", "2001:db8::7", 8000, true),
        ("remote-forward:*:8000", "192.0.2.1", 8000, true),
        ("remote-forward:*:8000", "127.0.0.1", 8000, true),
        // All interfaces.
        ("remote-forward:*:8000", "0.0.0.0", 8000, true),
        ("remote-forward:*:8000", "::", 8000, true),
        ("remote-forward:0.0.0.0:8000", "0.0.0.0", 8000, true),
        ("remote-forward:0.0.0.0:8000", "192.0.2.1", 8000, false),
        ("remote-forward:0.0.0.0/0:8000", "0.0.0.0", 8000, true),
        ("remote-forward:0.0.0.0/0:8000", "::", 8000, false),
        ("remote-forward:0.0.0.0/8:8000", "0.0.0.0", 8000, false),
        ("remote-forward:[::]:8000", "::", 8000, true),
        ("remote-forward:[::]/1:8000", "::", 8000, false),
        // The system chooses the port.
        ("remote-forward:127.0.0.1:*", "127.0.0.1", 0, true),
        ("remote-forward:127.0.0.1:8000-8100", "127.0.0.1", 0, true),
        ("remote-forward:127.0.0.1:8000", "127.0.0.1", 0, false),
        ("remote-forward:127.0.0.1:*", "192.0.2.1", 0, false),
        // Other rules do not count.
        ("forward:*:*,message,tun,exec:a", "127.0.0.1", 8000, false),
    ] {
        let found = permit(rules).permits_listen(ip(bind), port);
        assert_eq!(found, expected, "{rules}: {bind}:{port}");
    }
}

#[test]
fn sockets_are_permitted_by_their_exact_path() {
    let connect = permit("forward:/run/db.sock");
    let listen = permit("remote-forward:/run/db.sock");
    for (path, expected) in [
        ("/run/db.sock", true),
        ("/run//db.sock", false),
        ("/run/./db.sock", false),
        ("/run/db.sock/", false),
        ("/run/x/../db.sock", false),
        ("/run/db.sock2", false),
        ("/run", false),
        ("run/db.sock", false),
    ] {
        let path = Path::new(path);
        assert_eq!(connect.permits_path(path), expected, "{}", path.display());
        assert_eq!(listen.permits_listen_path(path), expected, "{}", path.display());
        assert!(!connect.permits_listen_path(path) && !listen.permits_path(path));
        assert!(!permit("forward:*:*,remote-forward:*:*").permits_path(path));
        assert!(!permit("forward:*:*,remote-forward:*:*").permits_listen_path(path));
    }
    // A colon in a path is a part of it.
    assert!(permit("forward:/run/a:22").permits_path(Path::new("/run/a:22")));
}

/// Wrong rules, and the message about each.
const WRONG: &[(&str, &str)] = &[
    ("", "permit names no service (possible: message, pipe)"),
    (" , ", "permit names no service (possible: message, pipe)"),
    ("message,", "'' is no service (possible: message, pipe)"),
    ("pipes", "'pipes' is no service (possible: message, pipe)"),
    ("Message", "'Message' is no service (possible: message, pipe)"),
    (
        "forwrd:a:1",
        "'forwrd:a:1' is no rule (possible with a target: forward:HOST:PORTS, \
             remote-forward:BIND:PORTS, exec:NAME)",
    ),
    (
        "channels",
        "'channels' comes with what its channels may do; write forward:HOST:PORTS, \
             remote-forward:BIND:PORTS or exec:NAME",
    ),
    ("tun:10.0.0.1", "'tun:10.0.0.1': tun has no target; write tun"),
    ("exec", "'exec' needs a command: exec:NAME, such as exec:backup"),
    ("exec:", "'exec:' needs a command: exec:NAME, such as exec:backup"),
    (
        "exec:/bin/sh -c",
        "'exec:/bin/sh -c': the name of a command has only letters, digits, '-', '.' and '_'",
    ),
    ("forward", "'forward' needs a target: forward:HOST:PORTS, such as forward:10.0.0.0/8:22"),
    (
        "forward:",
        "'forward:' is incomplete; write forward:HOST:PORTS, such as forward:10.0.0.0/8:22",
    ),
    (
        "forward:db.internal",
        "'forward:db.internal' is incomplete; write forward:HOST:PORTS, such as \
             forward:10.0.0.0/8:22",
    ),
    (
        "forward::22",
        "'forward::22' is incomplete; write forward:HOST:PORTS, such as forward:10.0.0.0/8:22",
    ),
    ("forward:a:", "'forward:a:': '' are no ports; write 22, 8000-8100 or *"),
    ("forward:a:ssh", "'forward:a:ssh': 'ssh' are no ports; write 22, 8000-8100 or *"),
    ("forward:a:0", "'forward:a:0': '0' are no ports; write 22, 8000-8100 or *"),
    ("forward:a:65536", "'forward:a:65536': '65536' are no ports; write 22, 8000-8100 or *"),
    ("forward:a:+22", "'forward:a:+22': '+22' are no ports; write 22, 8000-8100 or *"),
    ("forward:a:9-8", "'forward:a:9-8': '9-8' are no ports; write 22, 8000-8100 or *"),
    ("forward:a:0-8", "'forward:a:0-8': '0-8' are no ports; write 22, 8000-8100 or *"),
    ("forward:a:8-", "'forward:a:8-': '8-' are no ports; write 22, 8000-8100 or *"),
    ("forward:a:1-2-3", "'forward:a:1-2-3': '1-2-3' are no ports; write 22, 8000-8100 or *"),
    (
        "forward:10.0.0.0/33:22",
        "'forward:10.0.0.0/33:22': '10.0.0.0/33' is no address or network, such as 10.0.0.0/8",
    ),
    (
        "forward:10.0.0.0/:22",
        "'forward:10.0.0.0/:22': '10.0.0.0/' is no address or network, such as 10.0.0.0/8",
    ),
    (
        "forward:10.0.0.0/+8:22",
        "'forward:10.0.0.0/+8:22': '10.0.0.0/+8' is no address or network, such as 10.0.0.0/8",
    ),
    (
        "forward:name/8:22",
        "'forward:name/8:22': 'name/8' is no address or network, such as 10.0.0.0/8",
    ),
    ("forward:127.1:22", "'forward:127.1:22': write the address in full: 127.0.0.1"),
    ("forward:0x7f.1:22", "'forward:0x7f.1:22': write the address in full: 127.0.0.1"),
    ("forward:010.0.0.1:22", "'forward:010.0.0.1:22': write the address in full: 8.0.0.1"),
    (
        "forward:fd00::1:22",
        "'forward:fd00::1:22': write an IPv6 address in brackets, as in [fd00::1]",
    ),
    (
        "forward:[fd00::1:22",
        "'forward:[fd00::1:22': expected [ADDRESS], [ADDRESS]/BITS or [ADDRESS/BITS]",
    ),
    (
        "forward:[fd00::/8]/8:22",
        "'forward:[fd00::/8]/8:22': expected [ADDRESS], [ADDRESS]/BITS or [ADDRESS/BITS]",
    ),
    (
        "forward:[10.0.0.1]:22",
        "'forward:[10.0.0.1]:22': brackets are for IPv6 addresses, as in [fd00::1]",
    ),
    (
        "forward:[fd00::/129]:22",
        "'forward:[fd00::/129]:22': 'fd00::/129' is no address or network, such as 10.0.0.0/8",
    ),
    (
        "forward:[::ffff:10.0.0.1]:22",
        "'forward:[::ffff:10.0.0.1]:22': write the IPv4 address or network itself",
    ),
    (
        "forward:[64:ff9b::]/96:22",
        "'forward:[64:ff9b::]/96:22': write the IPv4 address or network itself",
    ),
    ("forward:*.internal:22", "'*.internal' is no host: patterns are not supported; name the host"),
    ("forward:a b:22", "'a b' is no host: there is a blank in it"),
    (
        "remote-forward",
        "'remote-forward' needs an address: remote-forward:BIND:PORTS, such as \
             remote-forward:localhost:8000-8100",
    ),
    (
        "remote-forward:8000",
        "'remote-forward:8000' is incomplete; write remote-forward:BIND:PORTS, such as \
             remote-forward:localhost:8000-8100",
    ),
    (
        "remote-forward:web.internal:80",
        "'remote-forward:web.internal:80': the server listens on addresses, not on names; \
             write the address of 'web.internal', localhost or *",
    ),
];

#[test]
fn wrong_rules_say_what_to_write() {
    let services = ServiceNames::new("message", ["pipe", "forward", "channels"]);
    let wrong = |rules: &str, message: &str| {
        assert_eq!(Permit::parse(rules, &services), Err(message.to_owned()), "{rules}");
    };
    for (rules, message) in WRONG {
        wrong(rules, message);
    }
    let long = format!("forward:/{}", "x".repeat(107));
    wrong(&long, &format!("'{long}': the path of a unix socket has at most 107 bytes"));
    assert!(Permit::parse(&long[..long.len() - 1], &services).is_ok());
    wrong(&"m".repeat(8193), "permit is longer than 8192 bytes; use fewer, wider rules");
}

#[test]
fn a_library_may_call_its_only_service_what_it_likes() {
    for name in ["channels", "forward", "tun", "exec:x"] {
        let permit = Permit::parse(name, &ServiceNames::new(name, [])).unwrap();
        assert!(permit.permits(name) && !permit.permits_tun() && !permit.permits_channels());
    }
}
