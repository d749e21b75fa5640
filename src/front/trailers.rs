//! What may stand in the trailers of a call or of its answer.

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, VIA};
use http_body::Frame;

use crate::http1::remove_forbidden_trailers;
use crate::protocol::remove_internal;

/// What proxies say of a request, which nobody may add to behind them.
const OF_PROXIES: [HeaderName; 5] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// Takes out of trailers what only a head may say (RFC 9110 section 6.5.1), what only runpool may say, and what only proxies may. Does nothing to data.
pub(super) fn clean_trailers<D>(frame: &mut Frame<D>) {
    if let Some(trailers) = frame.trailers_mut() {
        clean(trailers);
    }
}

fn clean(trailers: &mut HeaderMap) {
    remove_forbidden_trailers(trailers);
    remove_internal(trailers);
    for name in OF_PROXIES {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn only_what_means_nothing_in_a_head_stays() {
        let names =
            ["grpc-status", "content-length", "host", "authorization", "runpool-call", "x-forwarded-for", "via", "digest"];
        let trailers: HeaderMap = names.iter().map(|name| (HeaderName::from_static(name), "1".parse().unwrap())).collect();
        let mut frame = Frame::<Bytes>::trailers(trailers);
        clean_trailers(&mut frame);
        let mut left: Vec<String> = frame.into_trailers().unwrap().keys().map(ToString::to_string).collect();
        left.sort();
        assert_eq!(left, ["digest", "grpc-status"]);
    }
}
