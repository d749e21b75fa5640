//! What the balancer says of itself and of the client: Via, X-Forwarded-*, Forwarded (RFC 9110 section 7.6.3, RFC 7239).

use crate::case::{Bench, case, get};

const LINE: &str = "GET /x HTTP/1.1";

#[test]
fn via_names_the_balancer_and_a_loop_is_refused() {
    Bench::start().judge(vec![
        case("no other proxy", "9110 7.6.3", get("")).passes(LINE).with(&["via: 1.1 runpool"]),
        case("a client of HTTP/1.0", "9110 7.6.3", "GET /x HTTP/1.0\r\nhost: a\r\n\r\n")
            .passes(LINE)
            .with(&["via: 1.0 runpool"])
            .closed(),
        case("another proxy before", "9110 7.6.3", get("via: 1.0 fred\r\n"))
            .passes(LINE)
            .with(&["via: 1.0 fred, 1.1 runpool"])
            .passes(LINE)
            .with(&["via: 1.0 fred", "via: 1.1 runpool"]),
        case("two other proxies in two lines", "9110 7.6.3", get("via: 1.0 fred\r\nvia: 1.1 p.example (x)\r\n"))
            .passes(LINE)
            .with(&["via: 1.0 fred, 1.1 p.example (x), 1.1 runpool"])
            .passes(LINE)
            .with(&["via: 1.0 fred", "via: 1.1 p.example (x)", "via: 1.1 runpool"]),
        case("a name that begins like ours", "9110 7.6.3", get("via: 1.1 runpool-other\r\n"))
            .passes(LINE)
            .with(&["via: 1.1 runpool-other, 1.1 runpool"])
            .passes(LINE)
            .with(&["via: 1.1 runpool-other", "via: 1.1 runpool"]),
        case("ourselves", "9110 7.6.3", get("via: 1.1 runpool\r\n")).refused(&[400, 508]),
        case("ourselves among others", "9110 7.6.3", get("via: 1.0 fred, 1.1 runpool (x), 1.1 p.example\r\n"))
            .refused(&[400, 508]),
        case("ourselves in another line", "9110 7.6.3", get("via: 1.0 fred\r\nvia: HTTP/1.1 runpool\r\n")).refused(&[400, 508]),
    ]);
}

#[test]
fn a_client_cannot_say_who_it_is() {
    let forged = |name, lines: &str| {
        case(name, "7239 8.1", get(lines))
            .passes(LINE)
            .with(&["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: a"])
            .never(&["9.9.9.9", "evil"])
    };
    Bench::start().judge(vec![
        forged("nothing said", ""),
        forged("an address", "x-forwarded-for: 9.9.9.9\r\n"),
        forged("two addresses", "x-forwarded-for: 9.9.9.9, 9.9.9.9\r\nx-forwarded-for: 9.9.9.9\r\n"),
        forged("a scheme", "x-forwarded-proto: evil\r\n"),
        forged("a host", "x-forwarded-host: evil\r\n"),
        forged("all of them", "x-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: evil\r\nx-forwarded-host: evil\r\n"),
        forged("Forwarded", "forwarded: for=9.9.9.9;host=evil;proto=https\r\n"),
        forged(
            "names with underscores, which are the same to a worker that takes them as variables",
            "x_forwarded_for: 9.9.9.9\r\nX_Forwarded-Host: evil\r\n",
        ),
        forged("names in capitals", "X-FORWARDED-FOR: 9.9.9.9\r\nFORWARDED: for=9.9.9.9\r\n"),
    ]);
}

#[test]
fn what_trusted_proxies_said_is_kept_and_no_more() {
    let said = |name, lines: &str, wanted: &'static str| {
        case(name, "7239 5.2", get(lines)).passes(LINE).with(Vec::leak(vec![wanted])).never(&["9.9.9.9"])
    };
    Bench::with("trusted_hops = 1", "").judge(vec![
        said("nothing", "", "x-forwarded-for: 127.0.0.1"),
        said("one address", "x-forwarded-for: 1.2.3.4\r\n", "x-forwarded-for: 1.2.3.4, 127.0.0.1"),
        said(
            "an address that the client forged before it",
            "x-forwarded-for: 9.9.9.9, 1.2.3.4\r\n",
            "x-forwarded-for: 1.2.3.4, 127.0.0.1",
        ),
        said("two lines", "x-forwarded-for: 9.9.9.9\r\nx-forwarded-for: 1.2.3.4\r\n", "x-forwarded-for: 1.2.3.4, 127.0.0.1"),
        said("a scheme", "x-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\n", "x-forwarded-proto: https"),
        said("a host", "x-forwarded-for: 1.2.3.4\r\nx-forwarded-host: shop.example\r\n", "x-forwarded-host: shop.example"),
    ]);
}
