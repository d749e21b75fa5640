//! What is counted of TLS. Every series is of one use: `front`, `admin`, `runner` listen; `pool` and `register` connect.

use crate::telemetry::metrics::{CounterFamily, GaugeFamily, Labels, Metrics};

/// The families. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsMetrics {
    handshakes: CounterFamily,
    expiry: GaugeFamily,
    is_current: GaugeFamily,
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum HandshakeResult {
    /// There is a connection.
    Ok,
    /// It took too long.
    TimedOut,
    /// The other end showed no certificate, and had to.
    NoCertificate,
    /// The other end's certificate is wrong: unknown root, other name, expired.
    BadCertificate,
    /// The other end's certificate is right, and of nobody who may come in.
    NotAdmitted,
    /// The other end gave up, and said so.
    Refused,
    /// There is no version or cipher that both ends know.
    NothingInCommon,
    /// The connection ended, or what came was no TLS.
    Broken,
}

impl HandshakeResult {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::TimedOut => "timed_out",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::NotAdmitted => "not_admitted",
            Self::Refused => "refused",
            Self::NothingInCommon => "nothing_in_common",
            Self::Broken => "broken",
        }
    }

    /// What an error of a handshake was about. rustls hides its own within one of the connection.
    pub(super) fn of(error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(rustls::Error::InvalidCertificate(_)) => Self::BadCertificate,
            Some(rustls::Error::AlertReceived(_)) => Self::Refused,
            Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => Self::NothingInCommon,
            _ => Self::Broken,
        }
    }
}

impl TlsMetrics {
    /// Declares the families.
    pub fn declare(metrics: &mut Metrics) -> Self {
        Self {
            handshakes: metrics.counter(
                "tls_handshakes",
                "TLS handshakes by use (front, admin, runner; pool, register) and result (ok, timed_out, no_certificate, bad_certificate, not_admitted, refused, nothing_in_common, broken)",
            ),
            expiry: metrics.gauge(
                "tls_certificate_expiry_timestamp_seconds",
                "When our own certificate of this use expires, in seconds since 1970",
            ),
            is_current: metrics.gauge(
                "tls_last_reload_successful",
                "Whether the files of certificates were fit for use the last time they changed: 1, or 0, which keeps the last good ones",
            ),
        }
    }

    pub(super) fn ended(&self, name: &'static str, result: HandshakeResult) {
        let labels: Labels = vec![("use", name.to_owned()), ("result", result.as_str().to_owned())];
        self.handshakes.get_or_create(&labels).inc();
    }

    pub(super) fn loaded(&self, name: &'static str, expires_s: Option<i64>) {
        self.is_current.get_or_create(&labels(name)).set(1);
        if let Some(expires_s) = expires_s {
            self.expiry.get_or_create(&labels(name)).set(expires_s);
        }
    }

    pub(super) fn failed(&self, name: &'static str) {
        self.is_current.get_or_create(&labels(name)).set(0);
    }
}

fn labels(name: &'static str) -> Labels {
    vec![("use", name.to_owned())]
}
