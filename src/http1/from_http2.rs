//! The head of an HTTP/2 request in the terms of HTTP/1.1 (RFC 9113 sections 8.2 and 8.3).
//!
//! hyper refuses what is malformed in frames and fields. What it lets through and a runner would read otherwise than we do is refused here, and what HTTP/2
//! may write in pieces is joined, so that behind this a request of either version looks the same.

use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, request};

use super::head::{HeadLimits, MalformedHead, TOO_LARGE, tokens};
use super::host::check_authority;
use super::request::{METHOD_NOT_OFFERED, TARGET_TOO_LONG};

/// Makes `Host` say whom the request is for, whether `:authority` or `host` said it, and joins the crumbs of a cookie.
///
/// # Errors
/// The request is for nobody, for two, or for a user at a host; its target is none that HTTP/1.1 has; it has two lengths; or it asks for what is not offered.
pub fn translate_http2_head(head: &mut request::Parts, limits: &HeadLimits) -> Result<(), MalformedHead> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(METHOD_NOT_OFFERED);
    }
    if head.headers.len() > limits.max_fields {
        return Err(TOO_LARGE);
    }
    // h2 leaves to us what RFC 9113 section 8.2.1 takes for malformed: HTTP/1.1 could not tell it from the space that may stand before a value.
    if head.headers.values().map(HeaderValue::as_bytes).any(|value| value.trim_ascii().len() != value.len()) {
        return Err(MalformedHead::bad("a header's value begins or ends with space"));
    }
    check_target(&head.method, &head.uri, limits)?;
    name_the_host(&mut head.headers, &head.uri)?;
    // hyper compares the first one with what comes.
    if head.headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(MalformedHead::bad("there is more than one content-length"));
    }
    if head.headers.contains_key(EXPECT)
        && !tokens(&head.headers, &EXPECT).all(|token| token.eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(MalformedHead::new(StatusCode::EXPECTATION_FAILED, "the only expectation that can be met is `100-continue`"));
    }
    join_cookie(&mut head.headers)
}

/// A path, or `*` for OPTIONS; and of the schemes http and https (RFC 9113 section 8.3.1).
fn check_target(method: &Method, uri: &Uri, limits: &HeadLimits) -> Result<(), MalformedHead> {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > limits.max_target {
        return Err(TARGET_TOO_LONG);
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(MalformedHead::bad("the target has characters that no target has"));
    }
    let is_asterisk = target == "*" && *method == Method::OPTIONS;
    if !target.starts_with('/') && !is_asterisk {
        return Err(MalformedHead::bad("the target is no path"));
    }
    // Without an authority the URI type holds no scheme either.
    if uri.authority().is_some() && !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(MalformedHead::bad("the scheme is neither http nor https"));
    }
    Ok(())
}

/// One authority, as `:authority` or `host` or both alike: who sees two would choose, and not everybody the same.
fn name_the_host(headers: &mut HeaderMap, uri: &Uri) -> Result<(), MalformedHead> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(MalformedHead::bad("there is more than one host header"));
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    let said = match (authority, host.map(HeaderValue::as_bytes)) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(MalformedHead::bad("`:authority` and the host header differ"));
        }
        (Some(said), _) | (None, Some(said)) => said,
        (None, None) => return Err(MalformedHead::bad("there is neither `:authority` nor a host header")),
    };
    if check_authority(said).is_err() {
        return Err(MalformedHead::bad("the authority is not a host with at most a port"));
    }
    let said =
        HeaderValue::from_bytes(said).map_err(|_| MalformedHead::bad("the authority is not a host with at most a port"))?;
    headers.insert(HOST, said);
    Ok(())
}

/// HTTP/2 may send a cookie in crumbs; HTTP/1.1 has one field, with `; ` between (RFC 9113 section 8.2.3).
fn join_cookie(headers: &mut HeaderMap) -> Result<(), MalformedHead> {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return Ok(());
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let whole = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]));
    let whole = whole.map_err(|_| MalformedHead::bad("a header's value has characters that no value has"))?;
    headers.insert(COOKIE, whole);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Version};

    fn head(method: &str, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
        let mut builder = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn status(method: &str, uri: &str, fields: &[(&str, &str)]) -> u16 {
        let mut head = head(method, uri, fields);
        translate_http2_head(&mut head, &HeadLimits::default()).map_or_else(|error| error.status().as_u16(), |()| 200)
    }

    #[test]
    fn the_host_is_the_authority_and_crumbs_are_one_cookie() {
        let mut both = head("GET", "http://a:81/x", &[("cookie", "a=b"), ("x", "y"), ("cookie", "c=d"), ("host", "A:81")]);
        translate_http2_head(&mut both, &HeadLimits::default()).unwrap();
        assert_eq!((&both.headers["host"], &both.headers["cookie"]), (&"a:81".parse().unwrap(), &"a=b; c=d".parse().unwrap()));
        assert_eq!(both.headers.get_all("cookie").iter().count(), 1);
        let mut host_alone = head("GET", "/x", &[("host", "b")]);
        translate_http2_head(&mut host_alone, &HeadLimits::default()).unwrap();
        assert_eq!(host_alone.headers["host"], "b");
    }

    #[test]
    fn what_a_runner_could_read_otherwise_is_refused() {
        for (uri, fields) in [
            ("http://a/x", &[("host", "b")][..]),
            ("http://a/x", &[("host", "a"), ("host", "a")]),
            ("http://a/x", &[("host", "")]),
            ("http://me@a/x", &[]),
            ("http://a:b/x", &[]),
            ("http://a:65536/x", &[]),
            ("/x", &[]),
            ("/x", &[("host", "me@a")]),
            ("/x", &[("host", "a"), ("host", "b")]),
            ("ftp://a/x", &[]),
            ("http://a/x", &[("content-length", "5"), ("content-length", "5")]),
            ("http://a/x", &[("x", " 1")]),
            ("http://a/x", &[("x", "1\t")]),
            ("/x", &[("host", "a%2eb")]),
        ] {
            assert_eq!(status("GET", uri, fields), 400, "{uri} {fields:?}");
        }
        assert_eq!(status("GET", "*", &[("host", "a")]), 400);
        assert_eq!(status("OPTIONS", "*", &[("host", "a")]), 200);
        assert_eq!(status("TRACE", "http://a/x", &[]), 501);
        assert_eq!(status("CONNECT", "a:80", &[]), 501);
        assert_eq!(status("GET", "http://a/x", &[("expect", "x")]), 417);
        assert_eq!(status("GET", &format!("http://a/{}", "x".repeat(20_000)), &[]), 414);
        assert_eq!(status("GET", "http://a/x", &[("x", "y"); 101]), 431);
    }
}
