//! TLS, tokens, identities and rates, with the real program over real sockets: who comes in, who does not, and what is told to nobody.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt as _;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use nix::sys::signal::Signal;
use support::command_line::{file_with, run, runpool, text};
use support::http::{Body, call, full, get, metric, plain, within};
use support::roles::{job, lb, lb_with, pool, runner_with};
use support::secure::{Certificates, Open, certificate, connect, post, version};
use support::{Running, eventually, write};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A token as `runpool token make` prints it, and its hash.
struct Token {
    text: String,
    hash: String,
}

impl Token {
    fn make() -> Self {
        let output = run(&["token", "make", "--name", "shop"]);
        let lines: Vec<&str> = text(&output.stdout).lines().collect();
        let [token, hash] = lines[..] else { panic!("{lines:?}") };
        let hash = hash.split('"').nth(3).unwrap();
        Self { text: token.strip_prefix("token: ").unwrap().to_owned(), hash: hash.to_owned() }
    }

    /// An element of a list of tokens.
    fn named(&self, name: &str, more: &str) -> String {
        format!("{{ name = \"{name}\", hash = \"{}\"{more} }}", self.hash)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.text)
    }
}

/// `cat` as a function. More of its table may follow.
fn cat() -> String {
    job("cat", "cat")
}

/// Answers with the headers that came, a line each.
async fn show(request: Request<Incoming>) -> Response<Body> {
    let lines: Vec<String> =
        request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    Response::new(full(lines.join("\n")))
}

// === TLS ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_front_speaks_both_versions_of_http_over_tls_as_the_client_offers() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Certificates::make(directory.path(), "tls");
    let runner = runner_with(2, &[]);
    let lb = lb(directory.path(), &format!("{}{}{}", pool(&[runner.runner()]), tls.server("front.tls", "balancer"), cat()));
    for (offered, agreed) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1"), (&[], "")] {
        let stream = connect(lb.front(), tls.trusted_by_client(None, offered)).await.unwrap();
        assert_eq!(version(&stream), agreed);
        let mut open = Open::begin(stream).await;
        for body in ["one", "two"] {
            assert_eq!(open.post("/invoke/cat", HeaderMap::new(), body).await.unwrap().ok().text(), body, "{offered:?}");
        }
    }
    // What is no TLS gets no HTTP.
    assert!(call(lb.front(), "/invoke/cat").try_send().await.is_err());
    assert!(metric(lb.admin(), "tls_handshakes_total", &["use=\"front\"", "result=\"ok\""]).await >= 3.0);
    assert!(metric(lb.admin(), "tls_handshakes_total", &["use=\"front\"", "result=\"broken\""]).await >= 1.0);
    assert!(metric(lb.admin(), "tls_certificate_expiry_timestamp_seconds", &["use=\"front\""]).await > 1.7e9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_its_client_takes_late_comes_whole_over_tls() {
    const LENGTH: usize = 8_000_000;
    let directory = tempfile::tempdir().unwrap();
    let tls = Certificates::make(directory.path(), "tls");
    let runner = runner_with(2, &[]);
    let zeros = job("zeros", &format!("head -c {LENGTH} /dev/zero"));
    let tables = [pool(&[runner.runner()]), tls.server("front.tls", "balancer"), cat(), zeros].concat();
    let lb = lb(directory.path(), &tables);
    let mut late = connect(lb.front(), tls.trusted_by_client(None, &[])).await.unwrap();
    late.write_all(b"POST /invoke/zeros HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
    // More than sockets hold: the balancer has encrypted what it cannot send yet, and serves others meanwhile.
    for _ in 0..20 {
        post(lb.front(), tls.trusted_by_client(None, &[]), "/invoke/cat", "x").await.ok();
    }
    let mut came = Vec::new();
    within("the answer", late.read_to_end(&mut came)).await.unwrap();
    assert!(came.starts_with(b"HTTP/1.1 200 OK\r\n"));
    // Neither the head nor what is around chunks has a zero.
    assert_eq!(came.iter().filter(|byte| **byte == 0).count(), LENGTH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_loses_its_connection_over_tls_too() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Certificates::make(directory.path(), "tls");
    let runner = runner_with(2, &[]);
    let limits = "[front.limits]\nwrite_timeout = \"300ms\"\n".to_owned();
    let lb = lb(directory.path(), &[pool(&[runner.runner()]), tls.server("front.tls", "balancer"), limits, cat()].concat());
    let mut deaf = connect(lb.front(), tls.trusted_by_client(None, &[])).await.unwrap();
    // The answers fill the sockets, and then what TLS holds; what the client may still write before it is cut has an end.
    let asking = async { while deaf.write_all(b"GET /none HTTP/1.1\r\nhost: a\r\n\r\n").await.is_ok() {} };
    within("the end of the connection", asking).await;
    post(lb.front(), tls.trusted_by_client(None, &[]), "/invoke/cat", "x").await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balancer_and_agent_show_each_other_certificates_and_nobody_else_comes_in() {
    let directory = tempfile::tempdir().unwrap();
    let (tls, other) = (Certificates::make(directory.path(), "tls"), Certificates::make(directory.path(), "other"));
    let own = format!("{}{}", tls.server("runner.tls", "runner"), tls.wanting("required"));
    let file = write(directory.path(), "runner.toml", &own);
    // Beyond loopback, without the word: nobody unknown comes in.
    let runner = runner_with(2, &["--config", &file, "--listen", "0.0.0.0:0"]);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], runner.runner().port()));

    let text = format!("{}{}{}", pool(&[address]), tls.client("pool.tls", "balancer"), cat());
    let balancer = lb(directory.path(), &text);
    assert_eq!(call(balancer.front(), "/invoke/cat").body("x").send().await.ok().text(), "x");
    assert!(metric(balancer.admin(), "tls_handshakes_total", &["use=\"pool\"", "result=\"ok\""]).await >= 1.0);

    // Without a certificate, with one of another authority, and in clear.
    for own in [tls.trusted_by_client(None, &["http/1.1"]), {
        let mut stranger = tls.trusted_by_client(None, &["http/1.1"]);
        stranger.client_auth_cert_resolver = other.trusted_by_client(Some("balancer"), &[]).client_auth_cert_resolver;
        stranger
    }] {
        let answered = match connect(address, own).await {
            Ok(stream) => Open::begin(stream).await.post("/drain", HeaderMap::new(), "").await.is_ok(),
            Err(_) => false,
        };
        assert!(!answered);
    }
    assert!(call(address, "/status").try_send().await.is_err());

    // A balancer that trusts another authority reaches nobody, and says so.
    let quick = "[placement]\nplacer_timeout = \"100ms\"\n";
    let distrusting =
        lb(directory.path(), &format!("{}{}{quick}{}", pool(&[address]), other.client("pool.tls", "balancer"), cat()));
    assert_eq!(call(distrusting.front(), "/invoke/cat").send().await.status.as_u16(), 503);
    let runners = get(distrusting.admin(), "/v1/runners").await;
    assert!(runners.text().contains("TLS handshake"), "{}", runners.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_registers_by_its_certificate_alone() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Certificates::make(directory.path(), "tls");
    let text = format!(
        "[pool.registration]\nenabled = true\n{}{}{}",
        tls.server("admin.tls", "balancer"),
        tls.wanting("required"),
        cat()
    );
    let balancer = lb_with(directory.path(), &text, &[]);
    let file = write(directory.path(), "runner.toml", &tls.client("runner.register.tls", "runner"));
    let _runner = runner_with(1, &["--config", &file, "--register", &format!("https://{}", balancer.admin())]);
    balancer.log_line(&["runner registered"]);
    assert_eq!(call(balancer.front(), "/invoke/cat").body("x").send().await.ok().text(), "x");

    // The tools do it the same way.
    let admin = format!("https://{}", balancer.admin());
    let (ca, certificate, key) = (tls.path("ca.pem"), tls.path("runner.pem"), tls.path("runner.key"));
    let shown = run(&["runners", "--admin", &admin, "--ca", &ca, "--certificate", &certificate, "--key", &key]);
    assert!(support::command_line::text(&shown.stdout).contains("open"), "{shown:?}");
    assert_eq!(run(&["runners", "--admin", &admin, "--ca", &ca]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_use_a_new_certificate_while_old_ones_go_on_and_a_broken_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (tls, next) = (Certificates::make(directory.path(), "tls"), Certificates::make(directory.path(), "next"));
    let runner = runner_with(2, &[]);
    let lb = lb(directory.path(), &format!("{}{}{}", pool(&[runner.runner()]), tls.server("front.tls", "balancer"), cat()));
    let before = tls.trusted_by_client(None, &["http/1.1"]);
    let (first_of_all, after) = (before.clone(), next.trusted_by_client(None, &["http/1.1"]));
    let stream = connect(lb.front(), before).await.unwrap();
    let old = certificate(&stream);
    let mut open = Open::begin(stream).await;
    assert_eq!(open.post("/invoke/cat", HeaderMap::new(), "1").await.unwrap().ok().text(), "1");

    tls.replace_with(&next, &["balancer.pem", "balancer.key"]);
    let new = eventually("the new certificate is used", || async {
        connect(lb.front(), after.clone()).await.ok().map(|stream| certificate(&stream))
    })
    .await;
    assert_ne!(new, old);
    assert!(connect(lb.front(), first_of_all).await.is_err());
    assert_eq!(open.post("/invoke/cat", HeaderMap::new(), "2").await.unwrap().ok().text(), "2", "an old connection goes on");

    write(&tls.directory, "balancer.pem", "broken");
    lb.signal(Signal::SIGHUP);
    lb.log_line(&["the certificates stay as they were", "balancer.pem: expected certificates in PEM"]);
    assert_eq!(metric(lb.admin(), "tls_last_reload_successful", &["use=\"front\""]).await, 0.0);
    assert_eq!(certificate(&connect(lb.front(), after.clone()).await.unwrap()), new);
    assert_eq!(open.post("/invoke/cat", HeaderMap::new(), "3").await.unwrap().ok().text(), "3");
    assert_eq!(post(lb.front(), after, "/invoke/cat", "4").await.ok().text(), "4");

    tls.replace_with(&next, &["balancer.pem"]);
    lb.signal(Signal::SIGHUP);
    eventually("the metric says that all is well", || async {
        (metric(lb.admin(), "tls_last_reload_successful", &["use=\"front\""]).await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_body_passes_whole_both_ways_by_tls_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Certificates::make(directory.path(), "tls");
    let file = write(directory.path(), "runner.toml", &tls.server("runner.tls", "runner"));
    let runner = runner_with(2, &["--config", &file]);
    let text = format!(
        "{}{}{}{}",
        pool(&[runner.runner()]),
        tls.client("pool.tls", "balancer"),
        tls.server("front.tls", "balancer"),
        cat()
    );
    let lb = lb(directory.path(), &text);
    // More than any buffer on the way holds.
    let body: String = (0..800_000).map(|number| format!("{number:07}\n")).collect();
    for offered in ["h2", "http/1.1"] {
        let answer = post(lb.front(), tls.trusted_by_client(None, &[offered]), "/invoke/cat", &body).await.ok();
        assert!(answer.text() == body, "{offered}: {} of {} bytes", answer.body.len(), body.len());
    }
}

#[test]
fn certificates_are_made_by_one_command_which_never_overwrites_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Certificates::make(directory.path(), "tls");
    for name in ["balancer.key", "runner.key"] {
        assert_eq!(std::fs::metadata(tls.path(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert!(!tls.directory.join("ca.key").exists());
    let before = std::fs::read(tls.path("runner.key")).unwrap();
    let again = run(&["ca", "make", tls.directory.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read(tls.path("runner.key")).unwrap(), before);
    assert!(run(&["ca", "make", tls.directory.to_str().unwrap(), "--force"]).status.success());
    assert_ne!(std::fs::read(tls.path("runner.key")).unwrap(), before);
}

#[test]
fn a_file_that_is_no_certificate_ends_the_start_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Certificates::make(directory.path(), "tls");
    let key = tls.path("balancer.key");
    let file = file_with(directory.path(), &format!("[front.tls]\ncertificate = '{key}'\nkey = '{key}'\n"));
    let output = run(&["lb", "--config", &file, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    let expected = format!("front.tls: {key}: expected certificates in PEM, `-----BEGIN CERTIFICATE-----`; it has a private key");
    assert!(told.contains(&expected), "{told}");
}

// === Tokens ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_lets_each_token_do_what_its_role_says() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, operator) = (Token::make(), Token::make());
    let tokens = format!("{}, {}", reader.named("prometheus", ""), operator.named("anna", ", role = \"operate\""));
    let lb = lb(directory.path(), &format!("[admin]\ntokens = [{tokens}]\n{}", cat()));
    let ask = |token: Option<String>, method: http::Method| {
        let request = call(lb.admin(), "/v1/log-filter").method(method).body("info");
        token.map_or_else(
            || call(lb.admin(), "/v1/log-filter").method(http::Method::GET),
            |token| request.header("authorization", token),
        )
    };
    for wrong in
        [None, Some("Bearer nobody".to_owned()), Some(format!("Basic {}", reader.text)), Some(format!("Bearer {}", reader.hash))]
    {
        let answer = ask(wrong.clone(), http::Method::GET).send().await;
        assert_eq!((answer.status.as_u16(), answer.header("runpool-outcome")), (401, "unauthorized"), "{wrong:?}");
        assert!(answer.header("www-authenticate").starts_with("Bearer realm=\"runpool\""), "{answer:?}");
    }
    let status = async |token: &Token, method| ask(Some(token.bearer()), method).send().await.status.as_u16();
    assert_eq!(status(&reader, http::Method::GET).await, 200);
    assert_eq!(status(&reader, http::Method::PUT).await, 403);
    assert_eq!(status(&operator, http::Method::PUT).await, 204);
    lb.log_line(&["an operator changes something", "anna"]);
    // Whoever balances before us asks without a token, whoever scrapes with one.
    assert_eq!(get(lb.admin(), "/livez").await.status.as_u16(), 200);
    assert_eq!(get(lb.admin(), "/metrics").await.status.as_u16(), 401);

    let admin = lb.admin().to_string();
    let file = write(directory.path(), "token", &format!("{}\n", reader.text));
    assert_eq!(run(&["functions", "--admin", &admin, "--token-file", &file]).status.code(), Some(0));
    let by_variable = runpool(&["functions", "--admin", &admin]).env("RUNPOOL_TOKEN", &reader.text).output().unwrap();
    assert!(text(&by_variable.stdout).contains("cat"), "{by_variable:?}");
    let without = run(&["functions", "--admin", &admin]);
    assert!(text(&without.stderr).contains("401"), "{without:?}");

    let shown =
        call(lb.admin(), "/v1/config").method(http::Method::GET).header("authorization", reader.bearer()).send().await.ok();
    assert!(shown.text().contains("\"key\":\"admin.tokens[anna].role\""), "{}", shown.text());
    let config = run(&["config", "--config", directory.path().join("lb.toml").to_str().unwrap()]);
    for secret in [&reader, &operator].map(|token| [token.text.clone(), token.hash.replace("sha256:", "")]).concat() {
        for (place, printed) in [("config", shown.text()), ("log", &lb.log_text()), ("runpool config", text(&config.stdout))] {
            assert!(!printed.contains(&secret), "{place} shows a secret");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_exchanged_by_a_reload_and_never_for_none() {
    let directory = tempfile::tempdir().unwrap();
    let (before, after) = (Token::make(), Token::make());
    let configuration = |token: &str| format!("[admin]\n{token}\n[front]\n{token}\n{}access = \"token\"\n", cat());
    let lb = lb(directory.path(), &configuration(&format!("tokens = [{}]", before.named("anna", ""))));
    let status = async |token: &Token| {
        call(lb.admin(), "/v1/config")
            .method(http::Method::GET)
            .header("authorization", token.bearer())
            .send()
            .await
            .status
            .as_u16()
    };
    assert_eq!((status(&before).await, status(&after).await), (200, 401));
    write(directory.path(), "lb.toml", &configuration(&format!("tokens = [{}]", after.named("anna", ""))));
    lb.signal(Signal::SIGHUP);
    lb.log_line(&["the configuration was reloaded"]);
    assert_eq!((status(&before).await, status(&after).await), (401, 200));
    let invoked = call(lb.front(), "/invoke/cat").header("authorization", before.bearer()).send().await;
    invoked.problem(401, "unauthorized");
}

// === Who may call which function ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_function_lets_in_whom_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Certificates::make(directory.path(), "tls");
    let (shop, till) = (Token::make(), Token::make());
    let server = plain(show).await;
    let function = |name: &str, rest: &str| format!("[[function]]\nname = \"{name}\"\n{rest}\n");
    let text = format!(
        "[front]\ntokens = [{}, {}]\n{}{}{}protocol = \"plain\"\n{}{}{}{}{}",
        shop.named("shop", ""),
        till.named("till", ""),
        tls.server("front.tls", "balancer"),
        tls.wanting("optional"),
        pool(&[server]),
        function("open", ""),
        function("any-token", "access = \"token\""),
        function("shop-token", "access = \"token\"\ntokens = [\"shop\"]"),
        function("balancer-only", "access = \"identity\"\nidentities = [\"spiffe://cluster/balancer\"]"),
        function("by-name", "access = \"identity\"\nidentities = [\"dns:runner\", \"cn:nobody\"]"),
    );
    let lb = lb(directory.path(), &text);
    let ask = async |name: &str, token: Option<&Token>, own: Option<&str>| {
        let stream = connect(lb.front(), tls.trusted_by_client(own, &["h2"])).await.unwrap();
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert("authorization", token.bearer().parse().unwrap());
        }
        Open::begin(stream).await.post(&format!("/invoke/{name}"), headers, "body").await.unwrap()
    };
    let forwarded = ask("open", Some(&shop), None).await.ok();
    assert!(forwarded.text().contains(&shop.text), "what is not ours is forwarded: {}", forwarded.text());
    for name in ["any-token", "shop-token"] {
        ask(name, None, Some("balancer")).await.problem(401, "unauthorized");
        let nobody = Token { text: "nobody".into(), hash: String::new() };
        let unknown = ask(name, Some(&nobody), None).await;
        unknown.problem(401, "unauthorized");
        assert_eq!(unknown.header("www-authenticate"), "Bearer realm=\"runpool\", error=\"invalid_token\"");
        let kept = ask(name, Some(&shop), None).await.ok();
        assert!(!kept.text().contains("authorization"), "a token that was for us goes no further: {}", kept.text());
    }
    ask("any-token", Some(&till), None).await.ok();
    let other = ask("shop-token", Some(&till), None).await;
    other.problem(403, "forbidden");
    assert_eq!(other.header("www-authenticate"), "Bearer realm=\"runpool\", error=\"insufficient_scope\"");

    ask("balancer-only", None, Some("balancer")).await.ok();
    ask("by-name", None, Some("runner")).await.ok();
    for (name, own) in
        [("balancer-only", None), ("balancer-only", Some("runner")), ("by-name", None), ("by-name", Some("balancer"))]
    {
        ask(name, Some(&shop), own).await.problem(403, "forbidden");
    }
    for secret in [&shop.text, &till.text] {
        assert!(!lb.log_text().contains(secret.as_str()), "the log shows a token");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_call_is_told_before_a_byte_of_the_body_is_read() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let directory = tempfile::tempdir().unwrap();
    let token = Token::make();
    let lb = lb(directory.path(), &format!("[front]\ntokens = [{}]\n{}access = \"token\"\n", token.named("shop", ""), cat()));
    let mut stream = tokio::net::TcpStream::connect(lb.front()).await.unwrap();
    let head = "POST /invoke/cat HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    support::http::within("an answer", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401", "no 100 Continue came before");
}

// === Rates ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_its_rate_a_function_is_answered_429_with_the_time_to_wait() {
    let directory = tempfile::tempdir().unwrap();
    let server = plain(show).await;
    let text = format!(
        "{}protocol = \"plain\"\n[[function]]\nname = \"slow\"\nrate_limit = {{ per_second = 1 }}\n[[function]]\nname = \"free\"\n",
        pool(&[server])
    );
    let lb = lb(directory.path(), &text);
    call(lb.front(), "/invoke/slow").send().await.ok();
    // However slow this machine is, calls come faster than one a second now and then.
    let refused = eventually("a call beyond the rate", || async {
        let answer = call(lb.front(), "/invoke/slow").send().await;
        (answer.status.as_u16() == 429).then_some(answer)
    })
    .await;
    refused.problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    call(lb.front(), "/invoke/free").send().await.ok();
    assert!(metric(lb.admin(), "lb_rate_limited_total", &["function=\"slow\""]).await >= 1.0);
    assert_eq!(metric(lb.admin(), "lb_rate_limited_total", &["function=\"free\""]).await, 0.0);
}

// === P8 ===

#[test]
fn beyond_loopback_nobody_unknown_comes_in_unless_the_operator_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let check = |configuration: &str| {
        let file = file_with(directory.path(), configuration);
        let output = run(&["check", &file]);
        (output.status.code(), text(&output.stderr).to_owned())
    };
    let token = Token::make();
    let exposed = |table: &str, rest: &str| format!("[{table}]\nlisten = \"0.0.0.0:7000\"\n{rest}\n");
    let certificates = Certificates::make(directory.path(), "tls");
    let tls = |table: &str| certificates.server(&format!("{table}.tls"), "balancer") + &certificates.wanting("required");
    for table in ["front", "admin", "runner"] {
        let (code, told) = check(&format!("{}{}", exposed(table, ""), cat()));
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(&format!("{table}.listen = \"0.0.0.0:7000\": expected a loopback address, or ")), "{told}");
        assert!(told.contains("tls.client_certificates = \"required\""), "{told}");
        assert_eq!(check(&format!("{}{}{}", exposed(table, ""), tls(table), cat())).0, Some(0), "{table}");
        assert_eq!(check(&format!("{}{}", exposed(table, "expose = \"without-authentication\""), cat())).0, Some(0), "{table}");
    }
    let tokens = format!("tokens = [{}]", token.named("shop", ""));
    let (code, told) = check(&format!("{}{}", exposed("admin", &tokens), cat()));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("tokens come here in clear"), "{told}");
    assert_eq!(check(&format!("{}{}access = \"token\"\n", exposed("front", &tokens), cat())).0, Some(0));
    let (code, told) = check(&format!("{}{}access = \"token\"\n{}", exposed("front", &tokens), cat(), job("open", "cat")));
    assert_eq!(code, Some(1), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_opens_no_function_on_a_listener_that_only_lets_in_who_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let token = Token::make();
    let front = |listen: &str| format!("[front]\nlisten = \"{listen}\"\ntokens = [{}]\n", token.named("shop", ""));
    let file = write(directory.path(), "lb.toml", &format!("{}{}access = \"token\"\n", front("0.0.0.0:0"), cat()));
    let lb: Running = support::start(&["lb", "--config", &file, "--admin-listen", "127.0.0.1:0", "--announce"]);
    // Right for a start, and not for a listener that stays where it is.
    write(directory.path(), "lb.toml", &format!("{}{}", front("127.0.0.1:0"), cat()));
    lb.signal(Signal::SIGHUP);
    lb.log_line(&["the configuration was not reloaded", "until a restart"]);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], lb.front().port()));
    call(address, "/invoke/cat").send().await.problem(401, "unauthorized");
}
