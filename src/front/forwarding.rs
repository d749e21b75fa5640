//! What a gateway says of the hop behind it, and what it believes of the hops before: `Via`, `X-Forwarded-*`, `Forwarded`, `Max-Forwards`.

use std::net::SocketAddr;

use http::header::{FORWARDED, MAX_FORWARDS, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use serde::{Deserialize, Serialize};

use crate::http1::check_authority;
use crate::model::{AddressText, HopFields, HopText};
use crate::protocol::{KnownField, KnownFields};

/// In which words runners are told who called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedStyle {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both.
    Both,
    /// Not at all; what clients say of it is removed all the same.
    Off,
}

impl ForwardedStyle {
    const fn has_x(self) -> bool {
        matches!(self, Self::XForwarded | Self::Both)
    }

    const fn has_forwarded(self) -> bool {
        matches!(self, Self::Forwarded | Self::Both)
    }
}

/// The hop from a client to us. Small, as each idle connection has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientHop {
    pub(super) address: SocketAddr,
    /// The request came encrypted.
    is_tls: bool,
}

impl ClientHop {
    pub(super) const fn new(address: SocketAddr, is_tls: bool) -> Self {
        Self { address, is_tls }
    }

    /// The address, as `X-Forwarded-For` has it.
    fn text(&self) -> AddressText {
        AddressText::of(self.address.ip())
    }

    /// The same as the parameter `for` of `Forwarded` has it (RFC 7239 section 6).
    fn node(&self) -> String {
        let text = self.text();
        let text = text.as_str();
        if text.contains(':') { format!("\"[{text}]\"") } else { text.to_owned() }
    }

    /// Of which scheme the request was.
    const fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

/// What a request is, before it is a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hops {
    /// It goes on.
    GoOn,
    /// It is for us (OPTIONS of the server itself, or with no hop left).
    ForUs,
    /// It came from us.
    Loop,
    /// `Max-Forwards` is no number.
    Malformed,
}

/// The rules of forwarding, made once.
#[derive(Clone, Debug)]
pub(super) struct Forwarding {
    /// Our pseudonym; empty is none.
    name: String,
    via: [Option<HeaderValue>; 3],
    trusted_hops: usize,
    style: ForwardedStyle,
}

impl Forwarding {
    pub(super) fn new(name: &str, trusted_hops: u32, style: ForwardedStyle) -> Self {
        let via = |version: &str| {
            if name.is_empty() { None } else { HeaderValue::from_str(&format!("{version} {name}")).ok() }
        };
        Self {
            name: name.to_owned(),
            via: [via("1.0"), via("1.1"), via("2.0")],
            trusted_hops: usize::try_from(trusted_hops).unwrap_or(usize::MAX),
            style,
        }
    }

    /// Looks where the request has been and how far it may go (RFC 9110 sections 7.6.2 and 7.6.3). One hop less is left for OPTIONS.
    pub(super) fn look(&self, method: &Method, path: &str, headers: &mut HeaderMap, known: KnownFields) -> Hops {
        if !self.name.is_empty() && known.has(KnownField::Via) {
            let is_ours = |entry: &str| entry.split_ascii_whitespace().nth(1) == Some(self.name.as_str());
            let texts = headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
            if texts.flat_map(|text| text.split(',')).any(is_ours) {
                return Hops::Loop;
            }
        }
        if *method != Method::OPTIONS {
            return Hops::GoOn;
        }
        if path == "*" {
            return Hops::ForUs;
        }
        let Some(left) = headers.get(MAX_FORWARDS) else { return Hops::GoOn };
        let digits = left.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.map(|text| text.parse::<u64>().unwrap_or(u64::MAX)) {
            None => Hops::Malformed,
            Some(0) => Hops::ForUs,
            Some(left) => {
                headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
                Hops::GoOn
            }
        }
    }

    /// What a runner is to know of the hop to us. Of what was said of hops before, the headers keep no more than what trusted hops have said.
    pub(super) fn tell(
        &self,
        headers: &mut HeaderMap,
        known: KnownFields,
        version: Version,
        hop: Option<&ClientHop>,
        host: Option<HeaderValue>,
    ) -> HopFields {
        let via = match version {
            Version::HTTP_2 => &self.via[2],
            Version::HTTP_10 => &self.via[0],
            _ => &self.via[1],
        };
        let mut told = HopFields { via: via.clone().map(HopText::from), ..HopFields::default() };
        let mut former = |field, name: HeaderName| if known.has(field) { self.trusted(headers, &name) } else { None };
        let former_for = former(KnownField::XForwardedFor, HeaderName::from_static(HopFields::FOR));
        let former_forwarded = former(KnownField::Forwarded, FORWARDED);
        let has_proto = known.has(KnownField::XForwardedProto) && self.keep_one(headers, HopFields::PROTO, is_scheme);
        let has_host = known.has(KnownField::XForwardedHost)
            && self.keep_one(headers, HopFields::HOST, |host| check_authority(host).is_ok());
        let Some(hop) = hop else { return told };
        if self.style.has_x() {
            told.forwarded_for = match former_for {
                Some(former) => joined(&former, hop.text().as_str()),
                None => Some(HopText::Address(hop.text())),
            };
            told.forwarded_proto = (!has_proto).then(|| HeaderValue::from_static(hop.scheme()).into());
        }
        if self.style.has_forwarded() {
            let quoted = host.as_ref().and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\']));
            let host = quoted.map_or_else(String::new, |host| format!(";host=\"{host}\""));
            let element = format!("for={}{host};proto={}", hop.node(), hop.scheme());
            told.forwarded = match former_forwarded {
                Some(former) => joined(&former, &element),
                None => HeaderValue::from_str(&element).ok().map(HopText::from),
            };
        }
        if self.style.has_x() && !has_host {
            told.forwarded_host = host.map(HopText::from);
        }
        told
    }

    /// Takes a list out of the headers; of its elements those are left that trusted hops have written: the last ones.
    fn trusted(&self, headers: &mut HeaderMap, name: &HeaderName) -> Option<String> {
        let all = elements(headers, name);
        let kept = all[all.len().saturating_sub(self.trusted_hops)..].join(", ");
        headers.remove(name);
        (!kept.is_empty()).then_some(kept)
    }

    /// Of a field that each hop may have written or left alone, keeps what the first trusted hop has said, once and only if it is such a value. Whether
    /// anything is left.
    fn keep_one(&self, headers: &mut HeaderMap, name: &'static str, is_such: impl Fn(&[u8]) -> bool) -> bool {
        let name = HeaderName::from_static(name);
        let all = if self.style.has_x() { elements(headers, &name) } else { Vec::new() };
        let said = all.get(all.len().saturating_sub(self.trusted_hops)).copied();
        let value = said.filter(|said| is_such(said.as_bytes())).and_then(|said| HeaderValue::from_str(said).ok());
        headers.remove(&name);
        value.map(|value| headers.insert(name, value)).is_some()
    }
}

/// The elements of a list (RFC 9110 section 5.6.1: empty ones are none). Those of `Forwarded` are split where no quoted text goes on, and of a line in which such
/// a text never ends there is none: what is written behind it would become a part of it. The other fields know no quotes, and the hops that append to them see none.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let knows_quotes = *name == FORWARDED;
    let mut all = Vec::new();
    for text in headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
        let (mut is_quoted, mut is_escaped) = (false, false);
        let parts = text.split(|letter| {
            let escapes = is_quoted && !is_escaped && letter == '\\';
            is_quoted ^= knows_quotes && letter == '"' && !is_escaped;
            is_escaped = escapes;
            letter == ',' && !is_quoted
        });
        let before = all.len();
        all.extend(parts.map(str::trim).filter(|element| !element.is_empty()));
        if is_quoted {
            all.truncate(before);
        }
    }
    all
}

fn is_scheme(text: &[u8]) -> bool {
    ["http", "https", "ws", "wss"].iter().any(|scheme| text.eq_ignore_ascii_case(scheme.as_bytes()))
}

fn joined(former: &str, last: &str) -> Option<HopText> {
    HeaderValue::try_from(format!("{former}, {last}")).ok().map(HopText::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn written(forwarding: &Forwarding, pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = map(pairs);
        let hop = ClientHop::new("192.0.2.7:5000".parse().unwrap(), false);
        let (known, host) = (KnownFields::of(&headers), HeaderValue::from_static("shop:80"));
        let told = forwarding.tell(&mut headers, known, Version::HTTP_11, Some(&hop), Some(host));
        for (name, value) in told.iter() {
            headers.append(HeaderName::from_static(name), value.to_value());
        }
        headers
    }

    #[test]
    fn what_a_client_says_of_earlier_hops_is_not_believed() {
        let said = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("x-forwarded-proto", "https")];
        let headers = written(&Forwarding::new("rp", 0, ForwardedStyle::XForwarded), &said);
        let expected = map(&[
            ("via", "1.1 rp"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop:80"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn trusted_hops_are_believed_as_far_as_they_are_trusted() {
        let said = [("x-forwarded-for", "6.6.6.6, 10.0.0.1"), ("x-forwarded-for", "10.0.0.2"), ("x-forwarded-proto", "https")];
        let headers = written(&Forwarding::new("", 2, ForwardedStyle::XForwarded), &said);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 10.0.0.2, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert!(!headers.contains_key("via"));
        let headers = written(&Forwarding::new("", 1, ForwardedStyle::XForwarded), &[("x-forwarded-for", "1.2.3.4, ,")]);
        assert_eq!(headers["x-forwarded-for"], "1.2.3.4, 192.0.2.7", "what is empty is no hop");
    }

    #[test]
    fn scheme_and_host_are_said_once_and_are_such_or_are_ours() {
        let style = ForwardedStyle::XForwarded;
        let said = |hops, pairs: &[(&'static str, &'static str)]| {
            let headers = written(&Forwarding::new("", hops, style), pairs);
            let all = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>();
            (all("x-forwarded-proto").join("|"), all("x-forwarded-host").join("|"))
        };
        let is = |proto: &str, host: &str| (proto.to_owned(), host.to_owned());
        assert_eq!(said(1, &[("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")]), is("https", "shop:80"));
        assert_eq!(said(2, &[("x-forwarded-proto", "evil, https, http")]), is("https", "shop:80"));
        assert_eq!(said(1, &[("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a b")]), is("http", "shop:80"));
        assert_eq!(said(1, &[("x-forwarded-host", "evil"), ("x-forwarded-host", "front:443")]), is("http", "front:443"));
        assert_eq!(said(0, &[("x-forwarded-host", "evil"), ("x-forwarded-proto", "https")]), is("http", "shop:80"));
    }

    #[test]
    fn a_quote_takes_no_address_away_that_a_trusted_hop_has_written() {
        let forwarding = Forwarding::new("", 1, ForwardedStyle::Both);
        let said = |pairs: &[(&'static str, &'static str)], name: &str| written(&forwarding, pairs)[name].clone();
        assert_eq!(said(&[("x-forwarded-for", "\", 203.0.113.5")], "x-forwarded-for"), "203.0.113.5, 192.0.2.7");
        assert_eq!(said(&[("x-forwarded-proto", "\", https")], "x-forwarded-proto"), "https");
        let lines = [("forwarded", "for=\"a"), ("forwarded", "for=b")];
        assert_eq!(said(&lines, "forwarded"), "for=b, for=192.0.2.7;host=\"shop:80\";proto=http");
    }

    #[test]
    fn a_quote_that_a_client_left_open_swallows_no_element_of_ours() {
        let said =
            |text| written(&Forwarding::new("", 2, ForwardedStyle::Forwarded), &[("forwarded", text)])["forwarded"].clone();
        let ours = "for=192.0.2.7;host=\"shop:80\";proto=http";
        assert_eq!(said("for=\"a, for=b"), ours);
        assert_eq!(said("for=\"a\\\", for=b"), ours, "an escaped quote ends nothing");
        assert_eq!(said("for=\"a,b\", for=c"), format!("for=\"a,b\", for=c, {ours}"));
    }

    #[test]
    fn forwarded_is_written_as_rfc_7239_has_it() {
        let headers = written(&Forwarding::new("", 1, ForwardedStyle::Forwarded), &[("forwarded", "for=a, for=b")]);
        assert_eq!(headers, map(&[("forwarded", "for=b, for=192.0.2.7;host=\"shop:80\";proto=http")]));
        let six = ClientHop::new("[2001:db8::1]:1".parse().unwrap(), false);
        assert_eq!(six.node(), "\"[2001:db8::1]\"");
    }

    #[test]
    fn a_request_that_has_been_here_goes_no_further() {
        let forwarding = Forwarding::new("rp", 0, ForwardedStyle::Off);
        let look = |pairs: &[(&'static str, &'static str)], method, path| {
            let mut headers = map(pairs);
            let known = KnownFields::of(&headers);
            forwarding.look(&method, path, &mut headers, known)
        };
        assert_eq!(look(&[("via", "1.1 a, 1.1 rp (x)")], Method::GET, "/"), Hops::Loop);
        assert_eq!(look(&[("via", "1.1 rpx")], Method::GET, "/"), Hops::GoOn);
        assert_eq!(look(&[], Method::OPTIONS, "*"), Hops::ForUs);
        assert_eq!(look(&[("max-forwards", "0")], Method::OPTIONS, "/"), Hops::ForUs);
        assert_eq!(look(&[("max-forwards", "-1")], Method::OPTIONS, "/"), Hops::Malformed);
        assert_eq!(look(&[("max-forwards", "0")], Method::GET, "/"), Hops::GoOn);
        let mut headers = map(&[("max-forwards", "3")]);
        let known = KnownFields::of(&headers);
        assert_eq!(forwarding.look(&Method::OPTIONS, "/", &mut headers, known), Hops::GoOn);
        assert_eq!(headers["max-forwards"], "2");
    }
}
