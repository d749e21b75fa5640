//! Which of the fields that mean something to a proxy a head has, found out in one pass.
//!
//! A proxy asks every head for some thirty fields, of which a usual one has three. Asked one by one, each question hashes a name; asked here, all of them together
//! cost a look at the names that are there.

use http::{HeaderMap, HeaderName};

use super::headers::INTERNAL_PREFIX;

/// A field that means something to a proxy.
#[expect(missing_docs, reason = "each is the field of its name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KnownField {
    Authorization,
    Connection,
    ContentLength,
    ContentType,
    Date,
    Expect,
    FnInvokeType,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    MaxForwards,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    RequestId,
    RetryAfterMs,
    /// All of `runpool-*`.
    Runpool,
    Te,
    TimeoutMs,
    Traceparent,
    Trailer,
    TransferEncoding,
    /// All that are another of these once underscores are taken for hyphens.
    Underscored,
    Upgrade,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
}

use KnownField as Known;

impl KnownField {
    /// The field of this name, which is in lower case.
    pub fn of(name: &str) -> Option<Self> {
        // By length first: a name is compared with one or two, not with all.
        let known = match name.len() {
            2 if name == "te" => Self::Te,
            3 if name == "via" => Self::Via,
            4 => match name {
                "host" => Self::Host,
                "date" => Self::Date,
                _ => return Self::of_others(name),
            },
            6 if name == "expect" => Self::Expect,
            7 => match name {
                "upgrade" => Self::Upgrade,
                "trailer" => Self::Trailer,
                _ => return Self::of_others(name),
            },
            9 if name == "forwarded" => Self::Forwarded,
            10 => match name {
                "connection" => Self::Connection,
                "keep-alive" => Self::KeepAlive,
                _ => return Self::of_others(name),
            },
            11 if name == "traceparent" => Self::Traceparent,
            12 => match name {
                "content-type" => Self::ContentType,
                "x-request-id" => Self::RequestId,
                "x-timeout-ms" => Self::TimeoutMs,
                "max-forwards" => Self::MaxForwards,
                _ => return Self::of_others(name),
            },
            13 if name == "authorization" => Self::Authorization,
            14 => match name {
                "content-length" => Self::ContentLength,
                "fn-invoke-type" => Self::FnInvokeType,
                "http2-settings" => Self::Http2Settings,
                "retry-after-ms" => Self::RetryAfterMs,
                _ => return Self::of_others(name),
            },
            15 if name == "x-forwarded-for" => Self::XForwardedFor,
            16 => match name {
                "x-forwarded-host" => Self::XForwardedHost,
                "proxy-connection" => Self::ProxyConnection,
                _ => return Self::of_others(name),
            },
            17 => match name {
                "transfer-encoding" => Self::TransferEncoding,
                "x-forwarded-proto" => Self::XForwardedProto,
                _ => return Self::of_others(name),
            },
            18 if name == "proxy-authenticate" => Self::ProxyAuthenticate,
            19 if name == "proxy-authorization" => Self::ProxyAuthorization,
            _ => return Self::of_others(name),
        };
        Some(known)
    }

    /// Those that are known by a part of their name.
    fn of_others(name: &str) -> Option<Self> {
        if name.starts_with(INTERNAL_PREFIX) {
            return Some(Self::Runpool);
        }
        let is_underscored = name.bytes().any(|byte| byte == b'_') && Self::of(&name.replace('_', "-")).is_some();
        is_underscored.then_some(Self::Underscored)
    }
}

/// A set of known fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownFields(u32);

impl KnownFields {
    /// Those that belong to one connection, named in `Connection` or not (RFC 9110 section 7.6.1, and the historical `Keep-Alive` and `Proxy-*`).
    pub const HOP_BY_HOP: Self = Self::these(&[
        Known::Connection,
        Known::KeepAlive,
        Known::ProxyConnection,
        Known::ProxyAuthenticate,
        Known::ProxyAuthorization,
        Known::Te,
        Known::Trailer,
        Known::TransferEncoding,
        Known::Upgrade,
        // Goes with `Upgrade: h2c` (RFC 9113 section 3.1), which no longer exists.
        Known::Http2Settings,
    ]);

    /// Those that only runpool itself may write, and those that a worker which takes its headers as variables cannot tell from fields that mean
    /// something (RFC 3875 section 4.1.18: `X_Forwarded_For` and `X-Forwarded-For` are both `HTTP_X_FORWARDED_FOR`).
    pub const INTERNAL: Self = Self::these(&[Known::Runpool, Known::RetryAfterMs, Known::Underscored]);

    /// These.
    pub const fn these(fields: &[KnownField]) -> Self {
        let mut set = Self(0);
        let mut at = 0;
        while at < fields.len() {
            set = set.with(Some(fields[at]));
            at += 1;
        }
        set
    }

    /// Those of these headers.
    pub fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::default(), Self::and)
    }

    /// The same with the one of this name, if it is known.
    #[must_use]
    pub fn and(self, name: &HeaderName) -> Self {
        self.with(KnownField::of(name.as_str()))
    }

    /// The same with this one, if it is one.
    #[must_use]
    pub const fn with(self, field: Option<KnownField>) -> Self {
        match field {
            Some(field) => Self(self.0 | (1 << field as u8)),
            None => self,
        }
    }

    /// Those of both.
    #[must_use]
    pub const fn or(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether it has this one.
    pub const fn has(self, field: KnownField) -> bool {
        self.0 & (1 << field as u8) != 0
    }

    /// Whether of these it has this one, and no other.
    pub const fn has_only(self, of: Self, field: KnownField) -> bool {
        self.0 & of.0 == 1 << field as u8
    }

    /// Whether it has any of these.
    pub const fn has_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_fields_that_a_head_has_are_known_and_no_others() {
        let names = ["host", "x-request-id", "runpool-hint", "x-other", "te", "x-forwarded-hosts", "my_field"];
        let headers: HeaderMap =
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect();
        let known = KnownFields::of(&headers);
        assert_eq!(known, KnownFields::these(&[Known::Host, Known::RequestId, Known::Runpool, Known::Te]));
        assert!(known.has(Known::Host) && !known.has(Known::Via));
        assert!(known.has_any(KnownFields::HOP_BY_HOP) && known.has_any(KnownFields::INTERNAL));
        assert!(!KnownFields::these(&[Known::Host]).has_any(KnownFields::HOP_BY_HOP));
    }
}
