//! Forwards carry every byte both ways, and each direction ends by itself.

use std::thread;

use super::{BYTES, HERE, has_ipv6, keys_with, listens, place_in, server_listens};
use crate::support::{Keys, Listening, Place, Running, Socket, finish, known_line, vpn};

/// More than a window and the buffers of sockets.
const SIZE: usize = 200_000;

/// Which direction ends first.
#[derive(Clone, Copy, Debug)]
enum First {
    Near,
    Far,
    Neither,
}

const ORDERS: [First; 3] = [First::Near, First::Far, First::Neither];

/// Sends bytes and ends this direction, while the other side reads them.
fn one_way(from: &Socket, to: &Socket, bytes: &[u8]) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut from = from.again();
            from.says(bytes);
            from.ends();
        });
        let heard = to.again().hears_all();
        assert!(heard == bytes, "{} bytes instead of {}", heard.len(), bytes.len());
    });
}

/// Two ends of a connection talk; the direction that is not first goes on behind the end of the other.
fn talk(near: &mut Socket, far: &mut Socket, first: First) {
    let (there, back) = (&BYTES[..SIZE], &BYTES[SIZE..2 * SIZE + 1]);
    match first {
        First::Near => {
            one_way(near, far, there);
            one_way(far, near, back);
        }
        First::Far => {
            one_way(far, near, back);
            one_way(near, far, there);
        }
        First::Neither => thread::scope(|scope| {
            scope.spawn(|| one_way(near, far, there));
            one_way(far, near, back);
        }),
    }
}

/// What listens at the end of a forward: IPv4, a unix socket, and IPv6 if there is any.
fn listening(keys: &Keys, name: &str) -> Vec<Listening> {
    let unix = Listening::unix(&keys.folder.path().join(name));
    let mut all = vec![Listening::new(), unix];
    if has_ipv6() {
        all.push(Listening::at("[::1]:0"));
    }
    all
}

/// The places of all kinds for the other half of forwards.
fn to_listen_at(keys: &Keys, name: &str) -> Vec<String> {
    let mut all = vec!["127.0.0.1:0".to_owned(), keys.path(name)];
    if has_ipv6() {
        all.push("[::1]:0".to_owned());
    }
    all
}

/// One client with a forward for each combination of sockets at both ends.
fn all_combinations(option: &str, place: fn(&Running) -> Place) {
    let keys = Keys::new();
    let kinds = to_listen_at(&keys, "").len();
    let mut targets = Vec::new();
    let (mut args, mut rules) = (Vec::new(), vec![HERE.to_owned()]);
    rules.push("remote-forward:127.0.0.1:*,remote-forward:[::1]:*".to_owned());
    for kind in 0..kinds {
        for target in listening(&keys, &format!("target-{kind}")) {
            let name = format!("near-{}", targets.len());
            let at = to_listen_at(&keys, &name).swap_remove(kind);
            args.extend([option.to_owned(), format!("{at}:{}", target.place())]);
            rules.push(format!("remote-forward:{}", keys.path(&name)));
            if let Place::Unix(path) = target.place() {
                rules.push(format!("forward:{}", path.display()));
            }
            targets.push(target);
        }
    }
    keys.authorize(&format!("permit=\"{}\"", rules.join(",")));
    let server = keys.server(&[]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let client = keys.forwarding(server.port, &args);
    let places: Vec<Place> = targets.iter().map(|_| place(&client)).collect();
    for (number, (target, near)) in targets.iter().zip(&places).enumerate() {
        assert!(!near.to_string().ends_with(":0"), "{near}");
        let (mut near, mut far) = (near.connect(), target.accept());
        talk(&mut near, &mut far, ORDERS[number % ORDERS.len()]);
    }
}

#[test]
fn local_forwards_join_every_kind_of_socket_with_every_other() {
    all_combinations("-L", listens);
}

#[test]
fn remote_forwards_join_every_kind_of_socket_with_every_other() {
    all_combinations("-R", server_listens);
}

/// What a SOCKS5 client sends for this target: its type of address, and the address.
fn socks(proxy: &Place, kind: u8, address: &[u8], port: u16) -> Socket {
    let mut near = proxy.connect();
    near.says(&[5, 1, 0]);
    near.hears(&[5, 0]);
    near.says(&[&[5, 1, 0, kind], address, &port.to_be_bytes()].concat());
    near
}

/// The reply of success: its address has no meaning.
const SUCCESS: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

#[test]
fn a_socks_proxy_connects_to_names_and_addresses() {
    let keys = keys_with(&format!("{HERE},forward:localhost:*"));
    let server = keys.server(&[]);
    let client = keys.forwarding(server.port, &["-D", "127.0.0.1:0"]);
    let line = client.out.until("Listening at ");
    assert!(line.ends_with(" as a SOCKS5 proxy"), "{line}");
    let proxy = place_in(&line);
    let v4 = [127, 0, 0, 1];
    let v6 = std::net::Ipv6Addr::LOCALHOST.octets();
    let mut targets: Vec<(&str, u8, &[u8])> =
        vec![("127.0.0.1:0", 1, &v4), ("127.0.0.1:0", 3, b"\x09localhost")];
    if has_ipv6() {
        targets.push(("[::1]:0", 4, &v6));
    }
    for ((at, kind, address), first) in targets.into_iter().zip(ORDERS) {
        let target = Listening::at(at);
        let Place::Tcp(place) = target.place() else { panic!() };
        let mut near = socks(&proxy, kind, address, place.port());
        let mut far = target.accept();
        near.hears(&SUCCESS);
        talk(&mut near, &mut far, first);
    }
    // Data may come at once with the request.
    let target = Listening::new();
    let Place::Tcp(place) = target.place() else { panic!() };
    let mut near = proxy.connect();
    let port = place.port().to_be_bytes();
    near.says(&[&[5, 1, 0, 5, 1, 0, 1][..], &v4, &port, b"early"].concat());
    near.hears(&[5, 0]);
    near.hears(&SUCCESS);
    let mut far = target.accept();
    far.hears(b"early");
    talk(&mut near, &mut far, ORDERS[0]);
    // Refused by the target, which has gone.
    let Place::Tcp(gone) = Listening::new().place() else { panic!() };
    let mut near = socks(&proxy, 1, &v4, gone.port());
    near.hears(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn many_connections_of_all_forwards_of_a_client_go_on_at_once() {
    let keys = keys_with(&format!("{HERE},remote-forward:127.0.0.1:*"));
    let server = keys.server(&[]);
    let (target, back) = (Listening::new(), Listening::new());
    let args = [
        "-L",
        &format!("127.0.0.1:0:{}", target.place()),
        "-R",
        &format!("127.0.0.1:0:{}", back.place()),
        "-D",
        "127.0.0.1:0",
    ];
    let client = keys.forwarding(server.port, &args);
    // The session's own lines come in any order behind those of this side.
    let (local, proxy) = (listens(&client), listens(&client));
    let remote = server_listens(&client);
    let Place::Tcp(address) = target.place() else { panic!() };
    let mut pairs = Vec::new();
    for _ in 0..6 {
        pairs.push((local.connect(), target.accept()));
        pairs.push((remote.connect(), back.accept()));
        let mut near = socks(&proxy, 1, &[127, 0, 0, 1], address.port());
        near.hears(&SUCCESS);
        pairs.push((near, target.accept()));
    }
    thread::scope(|scope| {
        for (number, (near, far)) in pairs.iter_mut().enumerate() {
            scope.spawn(move || talk(near, far, ORDERS[number % ORDERS.len()]));
        }
    });
}

/// Lines of text, which standard streams of a test take.
fn text(size: usize) -> String {
    ('a'..='z').cycle().take(size).collect()
}

#[test]
fn one_connection_is_on_standard_input_and_output() {
    let keys = keys_with(HERE);
    let server = keys.server(&[]);
    for (target, first) in listening(&keys, "unused").into_iter().zip(ORDERS) {
        let Place::Tcp(place) = target.place() else { continue };
        let command = keys.client_command("client", server.port, &["-W", &place.to_string()]);
        let (there, back) = (text(SIZE), text(SIZE + 1));
        let (heard, ended) = thread::scope(|scope| {
            let far = scope.spawn(|| {
                let mut far = target.accept();
                if let First::Near = first {
                    let heard = far.hears_all();
                    far.says(back.as_bytes());
                    return heard;
                }
                one_way_out(&far, back.as_bytes());
                far.hears_all()
            });
            let ended = finish(command, there.as_bytes());
            (far.join().unwrap(), ended)
        });
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(heard == there.as_bytes() && ended.stdout == back, "{place}: {first:?}");
    }
}

/// Sends bytes, and ends this direction.
fn one_way_out(from: &Socket, bytes: &[u8]) {
    from.again().says(bytes);
    from.ends();
}

#[test]
fn forwards_stand_in_client_toml() {
    let keys = keys_with(&format!("{HERE},remote-forward:localhost:*"));
    let server = keys.server(&[]);
    let home = crate::support::TempDir::new();
    let folder = home.path().join("vpn");
    std::fs::create_dir(&folder).unwrap();
    let target = Listening::new();
    let toml = format!(
        "[[server]]\nname = 'work'\nhost = '127.0.0.1'\nport = {}\nidentity = '{}'\n\
         forward = ['127.0.0.1:0:{place}', './near:{place}']\n\
         remote_forward = ['0:{place}']\nsocks = '127.0.0.1:0'\n",
        server.port,
        keys.path("client"),
        place = target.place()
    );
    std::fs::write(folder.join("client.toml"), toml).unwrap();
    let known = known_line(&format!("127.0.0.1:{}", server.port), &keys.read("server.pub"));
    std::fs::write(folder.join("known_servers"), known).unwrap();
    let mut command = vpn();
    // And one more of the command line, which comes first.
    let more = format!("127.0.0.1:0:{}", target.place());
    command.env("XDG_CONFIG_HOME", home.path()).args(["client", "work", "-L", &more]);
    let client = Running::start(command);
    let mut places: Vec<Place> = (0..4).map(|_| listens(&client)).collect();
    assert_eq!(places[2], Place::Unix(folder.join("near")));
    let proxy = places.pop().unwrap();
    places.push(server_listens(&client));
    for (near, first) in places.iter().zip(ORDERS.into_iter().cycle()) {
        let (mut near, mut far) = (near.connect(), target.accept());
        talk(&mut near, &mut far, first);
    }
    let Place::Tcp(place) = target.place() else { panic!() };
    let mut near = socks(&proxy, 1, &[127, 0, 0, 1], place.port());
    near.hears(&SUCCESS);
    talk(&mut near, &mut target.accept(), First::Near);
}
