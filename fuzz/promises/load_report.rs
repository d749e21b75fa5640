//! A load report: no text makes the reader panic, and what was read says the same when it is written.

use runpool::protocol::LoadReport;

pub fn hold(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match text.parse::<LoadReport>() {
        Ok(report) => assert_eq!(report.to_string().parse(), Ok(report), "{text:?}"),
        Err(error) => assert!(error.to_string().contains("is not a load report"), "{error}"),
    }
}
