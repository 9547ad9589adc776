"""curl through forwards, the SOCKS proxy, unix sockets and HTTP/2."""
import functools
import hashlib
import http.server
import random
import socket
import threading

from start import ANY_PORT, LOOPBACK, case, check, find, free_port

# What the web server of these cases sends and expects.
PAGE = random.Random(11).randbytes(3_000_001)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(PAGE)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(body).hexdigest().encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def web_server(bench, host=LOOPBACK):
    """A web server in this process, until the case ends. Returns its port."""
    kind = Server6 if ":" in host else http.server.ThreadingHTTPServer
    server = kind((host, 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=functools.partial(server.serve_forever, 0.05), daemon=True).start()
    bench.closing.callback(server.server_close)
    bench.closing.callback(server.shutdown)
    return server.server_port


def curl(bench, *options, code=0):
    """What curl prints. It has a deadline of its own."""
    return bench.run(find("curl"), "-q", "-sS", "--noproxy", "", "--max-time", 20, *options, code=code)


def check_page(bench, *options):
    check(curl(bench, *options).out == PAGE, f"another page: {options}")


@case("curl")
def curl_gets_and_posts(bench):
    _, _, port = bench.forward(web_server(bench))
    url = f"http://{LOOPBACK}:{port}/"
    check_page(bench, url)
    page = bench.folder / "page"
    page.write_bytes(PAGE)
    posted = curl(bench, "--data-binary", f"@{page}", url).text()
    check(posted == hashlib.sha256(PAGE).hexdigest(), f"the server got other bytes: {posted}")
    # Ten requests at once, on connections of their own.
    curl(bench, "-Z", "--parallel-immediate", "-o", "part#1", f"{url}?[0-9]")
    for number in range(10):
        check((bench.folder / f"part{number}").read_bytes() == PAGE, f"another page in request {number}")


@case("curl")
def curl_reaches_a_name_whose_address_is_not_permitted(bench):
    port = web_server(bench)
    client = bench.client(bench.server(f"forward:localhost:{port}"),
                          "-L", f"{LOOPBACK}:0:localhost:{port}", "-L", f"{LOOPBACK}:0:{LOOPBACK}:{port}")
    check_page(bench, f"http://{LOOPBACK}:{client.ports[0]}/")
    refused = curl(bench, f"http://{LOOPBACK}:{client.ports[1]}/", code=None)
    # 7: no connection, 52: no answer, 56: a reset. Which of them depends on what curl does first.
    check(refused.code in (7, 52, 56), f"curl ended with {refused.code}: {refused.errors()}")


@case("curl")
def curl_at_the_proxy_lets_the_server_resolve_names(bench):
    port = web_server(bench)
    # Only the name is permitted. So a request with the address shows that curl sends the name to the server.
    server = bench.server(f"forward:localhost:{port}")
    client = bench.client(server, "-D", f"{LOOPBACK}:0")
    proxy = f"{LOOPBACK}:{client.ports[0]}"
    check_page(bench, "--proxy", f"socks5h://{proxy}", f"http://localhost:{port}/")
    refused = curl(bench, "--proxy", f"socks5h://{proxy}", f"http://{LOOPBACK}:{port}/", code=None)
    check(refused.code == 97, f"an address without permit: curl ended with {refused.code}: {refused.errors()}")
    other = curl(bench, "--proxy", f"socks5h://{proxy}", f"http://localhost:{free_port()}/", code=None)
    check(other.code == 97, f"a port without permit: curl ended with {other.code}: {other.errors()}")


@case("curl")
def curl_learns_from_the_proxy_that_a_target_refuses(bench):
    client = bench.client(bench.server("forward:127.0.0.0/8:*,forward:localhost:*,forward:*:*"), "-D", f"{LOOPBACK}:0")
    proxy = f"socks5h://{LOOPBACK}:{client.ports[0]}"
    for host in (LOOPBACK, "localhost", "no-such-name.invalid"):
        refused = curl(bench, "--proxy", proxy, f"http://{host}:{free_port()}/", code=None)
        check(refused.code in (7, 97), f"{host}: curl ended with {refused.code}: {refused.errors()}")
    # The client goes on.
    check_page(bench, "--proxy", proxy, f"http://{LOOPBACK}:{web_server(bench)}/")


@case("curl")
def curl_at_the_proxy_reaches_ipv6(bench):
    port = web_server(bench, "::1")
    client = bench.client(bench.server(f"forward:[::1]:{port}"), "-D", f"{LOOPBACK}:0", "-L", f"[::1]:0:[::1]:{port}")
    for scheme in ("socks5", "socks5h"):
        check_page(bench, "-g", "--proxy", f"{scheme}://{LOOPBACK}:{client.ports[1]}", f"http://[::1]:{port}/")
    check_page(bench, "-g", f"http://[::1]:{client.ports[0]}/")


@case("curl", "socat")
def curl_uses_unix_sockets_on_either_side(bench):
    port = web_server(bench)
    there, here, both = (bench.folder / name for name in ("there.sock", "here.sock", "both.sock"))
    bench.start("socat", [find("socat"), f"UNIX-LISTEN:{there},fork", f"TCP:{LOOPBACK}:{port}"])
    server = bench.server(f"{ANY_PORT},forward:{there}")
    client = bench.client(server, "-L", f"{here}:{LOOPBACK}:{port}", "-L", f"{LOOPBACK}:0:{there}", "-L", f"{both}:{there}")
    check_page(bench, "--unix-socket", here, "http://name/")
    check_page(bench, f"http://{LOOPBACK}:{client.ports[1]}/")
    check_page(bench, "--unix-socket", both, "http://name/")


@case("curl")
def curl_reaches_the_client_by_a_remote_forward(bench):
    port = web_server(bench)
    there = bench.folder / "there.sock"
    server = bench.server(f"remote-forward:127.0.0.0/8:*,remote-forward:{there}")
    client = bench.client(server, "-R", f"{LOOPBACK}:0:{LOOPBACK}:{port}", "-R", f"{there}:{LOOPBACK}:{port}")
    check_page(bench, f"http://{LOOPBACK}:{client.remote_ports[0]}/")
    check_page(bench, "--unix-socket", there, "http://name/")


NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off; root {folder}/www; http2_max_concurrent_streams 128;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; }}
}}
"""


# With TLS, because Debian 12's curl cannot reuse a connection with HTTP/2 in the clear.
@case("curl", "nginx", "openssl")
def http2_carries_a_hundred_streams_at_once(bench):
    (bench.folder / "www").mkdir()
    dice = random.Random(3)
    pages = [dice.randbytes(dice.randrange(1, 200_000)) for _ in range(100)]
    for number, page in enumerate(pages):
        (bench.folder / "www" / str(number)).write_bytes(page)
    bench.run(find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2,
              "-keyout", bench.folder / "key.pem", "-out", bench.folder / "cert.pem", "-subj", "/CN=test",
              "-addext", f"subjectAltName=IP:{LOOPBACK}")
    config = bench.folder / "nginx.conf"

    def command(port):
        config.write_text(NGINX.format(folder=bench.folder, port=port))
        return [find("nginx"), "-p", bench.folder, "-c", config, "-e", "stderr"]

    _, _, port = bench.forward(bench.service("nginx", command))
    done = curl(bench, "--http2", "--cacert", bench.folder / "cert.pem", "-Z", "--parallel-max", 100, "-o", "got#1",
                "-w", "%{http_version} %{num_connects} %{http_code}\n", f"https://{LOOPBACK}:{port}/[0-99]")
    lines = [line.split() for line in done.text().splitlines()]
    check(len(lines) == 100 and all(line[0] == "2" and line[2] == "200" for line in lines), f"curl says {lines[:3]}")
    check(sum(int(line[1]) for line in lines) == 1, "the streams had several connections")
    for number, page in enumerate(pages):
        check((bench.folder / f"got{number}").read_bytes() == page, f"another page {number}")
