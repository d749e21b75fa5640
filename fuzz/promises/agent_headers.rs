//! What else an agent says in header fields, and a client in `traceparent`: whatever was read is written and read again as the same.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use runpool::protocol::{BalancerId, LostWarm, RoomGrant, RoomToken, ServerTiming, WorkerStart, format_traceparent, parse_traceparent};

pub fn hold(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    comes_back::<LostWarm>(text);
    comes_back::<RoomGrant>(text);
    comes_back::<RoomToken>(text);
    comes_back::<BalancerId>(text);
    // Times are written to the microsecond: what was read is the same only from the second time on.
    let _ = text.parse::<WorkerStart>().map(|start| comes_back::<WorkerStart>(&start.to_string()));
    let _ = ServerTiming::parse(text).map(|timing| timing.to_string());
    if let Some(context) = parse_traceparent(text) {
        let written = format_traceparent(&context);
        assert_eq!(std::str::from_utf8(&written).ok().and_then(parse_traceparent), Some(context), "{text:?}");
    }
    if let Ok(lost) = text.parse::<LostWarm>() {
        let all = lost.since(0).map(|lost| lost.iter().map(|(_, count)| u64::from(*count)).sum::<u64>());
        assert!(all.is_none_or(|all| all == lost.newest()), "{text:?}");
    }
}

/// What this text means is what its writing means.
fn comes_back<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse().ok(), Some(value), "{text:?}");
    }
}
